// The servers that a job reads, and their tables.

import { el } from "../element.js";
import { UNKNOWN, bytes, count, duration, moment } from "../format.js";

export function shards(one) {
  const lanes = one.lanes ?? [];
  const splits = one.splits ?? [];
  if (lanes.length === 0) {
    return el("p", { class: "notice" }, "This job reads no servers, or is not connected yet.");
  }
  return [
    el("h2", null, "Servers"),
    table("Servers", ["Server", "Phase", "Tables", "Chunks", "Changes", "Read", "Position", "Lag", "Behind by", "Last change", "Retries"],
      lanes.map((lane) => el("tr", { "data-key": `${lane.source} ${lane.lane}` },
        el("th", { scope: "row" }, lane.lane, el("div", { class: "quiet" }, lane.source)),
        phase(lane),
        el("td", { class: "number" }, count(lane.split_count)),
        progress(lane),
        el("td", { class: "number" }, count(lane.row_count)),
        el("td", { class: "number" }, bytes(lane.size_bytes)),
        el("td", { class: "code position" }, lane.position ?? UNKNOWN),
        el("td", { class: "number" }, duration(lane.lag_ms)),
        el("td", { class: "number" }, bytes(lane.lag_bytes)),
        el("td", null, moment(lane.last_event_ms)),
        el("td", { class: "number" }, count(lane.retries))))),
    el("h2", null, `Shards (${count(one.split_count ?? splits.length)})`),
    table("Shards", ["Server", "Database", "Table", "Phase", "Chunks", "Changes", "Read", "Last change", "Schema", "Skipped"],
      splits.map((split) => {
        const [database, name] = halves(split.split);
        return el("tr", { "data-key": `${split.source} ${split.lane} ${split.split}` },
          el("td", null, split.lane),
          el("td", null, database),
          el("th", { scope: "row" }, name),
          phase(split),
          progress(split),
          el("td", { class: "number" }, count(split.row_count)),
          el("td", { class: "number" }, bytes(split.size_bytes)),
          el("td", null, moment(split.last_event_ms)),
          el("td", { class: "number" }, split.schema_version ?? UNKNOWN),
          el("td", { class: "number" }, count(split.errors_skipped)));
      })),
  ];
}

function halves(split) {
  const dot = split.indexOf(".");
  return dot < 0 ? ["", split] : [split.slice(0, dot), split.slice(dot + 1)];
}

function phase({ phase: name, last_error: error }) {
  return el("td", null, el("span", { class: `chip phase-${name}` }, name), error && el("div", { class: "reason" }, error));
}

function progress({ chunks_read: read, chunks_total: total, chunks_estimated: isEstimate }) {
  if (total === null || total === undefined) {
    return el("td", { class: "number" }, UNKNOWN);
  }
  const text = `${count(read)} of ${isEstimate ? "about " : ""}${count(total)}`;
  return el("td", { class: "number" }, el("progress", { max: Math.max(total, 1), value: Math.min(read, total), "aria-label": text }), text);
}

function table(label, head, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, el("table", null,
    el("thead", null, el("tr", null, head.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", null, rows)));
}
