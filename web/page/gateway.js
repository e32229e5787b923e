// The SQL gateway as a client: a session, statements, and their results page by page.

import { ask } from "./server.js";

const API = "/v3";

/** Cuts a script into statements: at semicolons outside quotes and remarks; a statement set is one statement. */
export function statements(script) {
  const found = [];
  let start = 0;
  let inSet = false;
  let position = 0;
  const end = () => {
    const text = script.slice(start, position).trim();
    if (withoutRemarks(text)) {
      found.push(text);
    }
    start = position + 1;
  };
  while (position < script.length) {
    const skipped = skip(script, position);
    if (skipped > position) {
      position = skipped;
      continue;
    }
    if (script[position] === ";") {
      const text = withoutRemarks(script.slice(start, position));
      inSet = /^EXECUTE\s+STATEMENT\s+SET\b/i.test(text) && !/\bEND$/i.test(text);
      if (!inSet) {
        end();
      }
    }
    position += 1;
  }
  position = script.length;
  end();
  return found;
}

/** The end of the quoted text or remark that begins at `position`; `position` itself if none does. */
function skip(script, position) {
  const two = script.slice(position, position + 2);
  if (two === "--") {
    const line = script.indexOf("\n", position);
    return line < 0 ? script.length : line;
  }
  if (two === "/*") {
    const close = script.indexOf("*/", position + 2);
    return close < 0 ? script.length : close + 2;
  }
  const quote = script[position];
  if (quote === "'" || quote === "`" || quote === '"') {
    const close = script.indexOf(quote, position + 1);
    return close < 0 ? script.length : close + 1;
  }
  return position;
}

function withoutRemarks(text) {
  return text.replace(/\/\*(?!\+)[\s\S]*?\*\//g, " ").replace(/--[^\n]*/g, " ").trim();
}

/** A session with the gateway; opened when it is first needed, and again after the server has forgotten it. */
export class Session {
  #handle = null;

  /** Runs one statement. `onPage` gets each page of the result; `signal` stops it. */
  async run(statement, { onPage, signal }) {
    const operation = await this.#submit(statement);
    const base = `${API}/sessions/${this.#handle}/operations/${operation}`;
    try {
      let next = `${base}/result/0?rowFormat=PLAIN_TEXT`;
      while (next && !signal.aborted) {
        const page = await ask(next);
        if (page.resultType !== "NOT_READY") {
          onPage(page);
        }
        const isEmpty = page.resultType === "NOT_READY" || page.results?.data?.length === 0;
        if (isEmpty && page.nextResultUri) {
          await new Promise((done) => setTimeout(done, 100));
        }
        next = page.nextResultUri;
      }
    } finally {
      await ask(`${base}/close`, { method: "DELETE" }).catch(() => null);
    }
  }

  async #submit(statement) {
    const send = () => ask(`${API}/sessions/${this.#handle}/statements`, { method: "POST", body: { statement } });
    if (!this.#handle) {
      await this.#open();
      return (await send()).operationHandle;
    }
    try {
      return (await send()).operationHandle;
    } catch (error) {
      if (!/session/i.test(error.message) || !/not exist|expired|closed|unknown/i.test(error.message)) {
        throw error;
      }
      await this.#open();
      return (await send()).operationHandle;
    }
  }

  async #open() {
    const answer = await ask(`${API}/sessions`, { method: "POST", body: { sessionName: "page" } });
    this.#handle = answer.sessionHandle;
  }
}
