// The SQL editor: a script, and what its statements answer, as it arrives.
//
// A streaming query's result is shown as the table that its changes make, or change by change.

import { el } from "../element.js";
import { count, duration } from "../format.js";
import { Session, statements } from "../gateway.js";

const SCRIPT_KEY = "shardlake.script";
/** Rows that are shown; more are counted. */
const ROWS_MAX = 1_000;
const OPS = { INSERT: "+I", UPDATE_BEFORE: "-U", UPDATE_AFTER: "+U", DELETE: "-D" };
const EXAMPLE = `CREATE TABLE numbers (
  id BIGINT, name STRING
) WITH ('connector' = 'datagen', 'rows-per-second' = '3', 'fields.id.kind' = 'sequence',
  'fields.id.start' = '1', 'fields.id.end' = '1000', 'fields.name.length' = '8');

SELECT * FROM numbers;`;

export class SqlView {
  #render;
  #session = new Session();
  #results = [];
  #running = null;
  #mode = "table";
  #editor = null;

  constructor(render) {
    this.#render = render;
  }

  tree() {
    return [
      el("h1", null, "SQL"),
      el("section", { class: "panel", "aria-label": "Editor" },
        el("label", { for: "script" }, "Statements, each ended by a semicolon"),
        el("textarea", { id: "script", rows: 12, spellcheck: "false", autocapitalize: "off", "aria-describedby": "keys" }),
        el("div", { class: "buttons" },
          el("button", { type: "button", "data-action": "run", class: "primary", disabled: this.#running !== null }, "Run"),
          el("button", { type: "button", "data-action": "stop", disabled: this.#running === null }, "Stop"),
          el("button", { type: "button", "data-action": "example" }, "Example"),
          el("span", { id: "keys", class: "quiet" }, "Ctrl+Enter runs the selected text, or all."),
          el("span", { class: "modes", role: "group", "aria-label": "How changes are shown" },
            ["table", "changelog"].map((mode) => el("button", { type: "button", "data-action": "mode", "data-mode": mode,
              "aria-pressed": String(mode === this.#mode) }, mode))))),
      el("div", { class: "results", "aria-live": "polite" }, this.#results.map((result) => this.#result(result))),
    ];
  }

  /** Fills the editor once it is in the document. */
  attach() {
    const editor = document.getElementById("script");
    if (editor && editor !== this.#editor) {
      this.#editor = editor;
      editor.value = localStorage.getItem(SCRIPT_KEY) ?? "";
      editor.addEventListener("input", () => localStorage.setItem(SCRIPT_KEY, editor.value));
    }
  }

  setMode(mode) {
    this.#mode = mode;
  }

  showExample() {
    const editor = document.getElementById("script");
    editor.value = EXAMPLE;
    localStorage.setItem(SCRIPT_KEY, EXAMPLE);
  }

  stop() {
    this.#running?.abort();
  }

  /** Runs the selected text, or the whole script; stops at the first statement that fails. */
  async run() {
    const editor = document.getElementById("script");
    if (this.#running || !editor) {
      return;
    }
    const selected = editor.value.slice(editor.selectionStart, editor.selectionEnd);
    const script = selected.trim() === "" ? editor.value : selected;
    this.#running = new AbortController();
    this.#results = [];
    try {
      for (const statement of statements(script)) {
        if (!(await this.#runOne(statement)) || this.#running.signal.aborted) {
          break;
        }
      }
    } finally {
      this.#running = null;
      this.#render();
    }
  }

  async #runOne(statement) {
    const result = { id: this.#results.length, statement, columns: [], table: new Map(), places: new Map(), changes: [], count: 0,
      state: "running", started: performance.now(), job: null, isQuery: false, error: null };
    this.#results.push(result);
    this.#render();
    try {
      await this.#session.run(statement, {
        signal: this.#running.signal,
        onPage: (page) => {
          take(result, page);
          this.#render();
        },
      });
      result.state = this.#running.signal.aborted ? "stopped" : "done";
    } catch (error) {
      result.state = "failed";
      result.error = error.message;
    }
    result.took = performance.now() - result.started;
    this.#render();
    return result.state !== "failed";
  }

  #result(result) {
    const answer = [result.state, result.took === undefined ? null : ` after ${duration(result.took)}`,
      result.isQuery ? `, ${count(result.count)} changes` : null];
    return el("article", { class: `result ${result.state}`, "data-key": result.id },
      el("pre", { class: "statement" }, result.statement),
      el("p", { class: "quiet" }, answer, result.job && [", job ", el("a", { href: `#/jobs/${result.job}` }, result.job)]),
      result.error && el("pre", { class: "notice bad", role: "alert" }, result.error),
      hasRows(result) && this.#grid(result));
  }

  #grid(result) {
    const showsChanges = this.#mode === "changelog" && result.isQuery;
    const rows = showsChanges ? result.changes.toReversed() : [...result.table.values()];
    const shown = rows.slice(0, ROWS_MAX);
    const head = [...(showsChanges ? ["op"] : []), ...result.columns.map((column) => column.name)];
    return [
      el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Result" }, el("table", { class: "grid" },
        el("thead", null, el("tr", null, head.map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", null, shown.map((row) => el("tr", { "data-key": row.key, class: showsChanges ? `op-${row.op}` : "" },
          showsChanges && el("td", { class: "code" }, row.op),
          row.fields.map((field) => el("td", { class: field === null ? "null" : "" }, field === null ? "NULL" : String(field)))))))),
      rows.length > ROWS_MAX && el("p", { class: "quiet" }, `The first ${count(ROWS_MAX)} of ${count(rows.length)} rows.`),
    ];
  }
}

/** Whether the answer says more than that the statement was run. */
function hasRows({ columns, isQuery, error }) {
  const isOnlyOk = !isQuery && columns.length === 1 && columns[0].name === "result";
  return columns.length > 0 && !isOnlyOk && !error;
}

/** Takes the rows of a page: into the table that they make, and into the list of changes. */
function take(result, page) {
  result.isQuery = page.isQueryResult ?? false;
  result.job = page.jobID ?? result.job;
  result.columns = page.results?.columns ?? result.columns;
  for (const { kind, fields } of page.results?.data ?? []) {
    const op = OPS[kind] ?? "+I";
    result.changes.push({ key: result.count, op, fields });
    if (result.changes.length > ROWS_MAX) {
      result.changes.shift();
    }
    change(result, op, fields);
    result.count += 1;
  }
}

/** Rows are kept by the number of the change that brought them; `places` finds the numbers of equal rows. */
function change(result, op, fields) {
  const text = JSON.stringify(fields);
  const places = result.places.get(text) ?? [];
  if (op === "+I" || op === "+U") {
    result.table.set(result.count, { key: result.count, fields });
    result.places.set(text, [...places, result.count]);
  } else if (places.length > 0) {
    result.table.delete(places[0]);
    result.places.set(text, places.slice(1));
  }
}
