// One job: its figures, and a tab for each side of it.

import { bars, lines } from "../chart.js";
import { el } from "../element.js";
import { byteRate, count, duration, moment, rate } from "../format.js";
import { graph } from "./graph.js";
import { lake } from "./lake.js";
import { chip, figure } from "./overview.js";
import { shards } from "./shards.js";

const TABS = [
  ["graph", "Graph"],
  ["shards", "Shards"],
  ["checkpoints", "Checkpoints"],
  ["lake", "Lake"],
  ["errors", "Errors"],
  ["configuration", "Configuration"],
];
const ENDED = new Set(["FINISHED", "CANCELED", "FAILED"]);

/** Whether a route shows the tables of the lake. */
export function needsTables({ page, id, tab }) {
  return page === "jobs" && id !== "" && tab === "lake";
}

export function job(one, id, tab, tables, server) {
  if (!one) {
    const isKnown = server.jobs.some((known) => known.id === id);
    const text = isKnown ? "Asking the server…" : `There is no job ${id}.`;
    return [el("h1", null, "Job"), el("p", { class: "notice" }, text)];
  }
  const bodies = { graph: graphTab, shards, checkpoints, errors, configuration };
  const body = tab === "lake" ? lake(tables) : (bodies[tab] ?? graphTab)(one);
  return [
    el("div", { class: "title" }, el("h1", null, one.name), chip(one.status), buttons(one)),
    el("p", { class: "quiet" }, `Job ${one.id}, submitted ${moment(one.started_at_ms)}`,
      one.ended_at_ms ? `, ended ${moment(one.ended_at_ms)}` : ""),
    one.failure && el("p", { class: "notice bad" }, one.failure),
    figures(one),
    el("nav", { class: "tabs", "aria-label": "Sides of the job" }, TABS.map(([name, label]) =>
      el("a", { href: `#/jobs/${one.id}/${name}`, "aria-current": name === tab ? "page" : null }, label))),
    el("section", { class: "tab", "data-key": tab, "aria-label": TABS.find(([name]) => name === tab)?.[1] }, body),
  ];
}

function buttons(one) {
  if (ENDED.has(one.status)) {
    return null;
  }
  const facts = { "data-id": one.id, "data-name": one.name, type: "button" };
  return el("span", { class: "buttons" },
    el("button", { ...facts, "data-action": "savepoint" }, "Stop with savepoint"),
    el("button", { ...facts, "data-action": "cancel", class: "danger" }, "Cancel"));
}

function figures(one) {
  return el("dl", { class: "figures" },
    figure("Read", rate(one.rows_per_second)),
    figure("Bytes", byteRate(one.bytes_per_second)),
    figure("Changes read", count(one.row_count)),
    figure("Changes committed", count(one.committed_row_count)),
    figure("Lag", duration(one.lag_ms)),
    figure("Freshness", duration(one.freshness_ms)),
    figure("Last epoch", count(one.last_epoch)),
    figure("Restarts", count(one.restarts), one.restarts > 0 ? "warn" : ""));
}

function graphTab(one) {
  const history = one.history ?? [];
  const times = history.map((point) => point.at_ms);
  const values = (field) => history.map((point) => point[field]);
  return [
    graph(one.operators ?? []),
    history.length > 1 && el("div", { class: "charts" },
      lines({ title: "Changes per second", times, format: rate, series: [
        { label: "read", values: values("rows_in"), kind: "first" },
        { label: "committed", values: values("rows_out"), kind: "second" }] }),
      lines({ title: "Bytes per second", times, format: byteRate, series: [
        { label: "read", values: values("bytes_in"), kind: "first" }] }),
      lines({ title: "Behind the source", times, format: duration, series: [
        { label: "lag", values: values("lag_ms"), kind: "first" },
        { label: "freshness", values: values("freshness_ms"), kind: "second" }] })),
    one.statement && el("details", { open: true }, el("summary", null, "Statement"), el("pre", null, one.statement)),
  ];
}

function checkpoints(one) {
  const list = one.checkpoints ?? [];
  if (list.length === 0) {
    return el("p", { class: "notice" }, "No epoch was committed yet.");
  }
  const took = (point) => Math.max(point.at_ms - point.closed_at_ms, 0);
  const label = (point) => `epoch ${point.epoch} at ${moment(point.at_ms)}`;
  return [
    el("div", { class: "charts" },
      bars({ title: "From the epoch's close to its commit", format: duration,
        values: list.map((point) => ({ value: took(point), label: label(point) })) }),
      bars({ title: "Changes in each epoch", format: count, kind: "second",
        values: list.map((point) => ({ value: point.row_count, label: label(point) })) })),
    el("p", { class: "quiet" }, `The last ${list.length} of ${count(one.checkpoint_count)} epochs that were committed.`),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Checkpoints" }, el("table", null,
      el("thead", null, el("tr", null, ["Epoch", "Committed", "Took", "Changes", "Newest change", "Phase", "Snapshots"]
        .map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", null, list.toReversed().map((point) => el("tr", { "data-key": point.epoch },
        el("th", { scope: "row", class: "number" }, count(point.epoch)),
        el("td", null, moment(point.at_ms)),
        el("td", { class: "number" }, duration(took(point))),
        el("td", { class: "number" }, count(point.row_count)),
        el("td", null, moment(point.event_time_ms)),
        el("td", null, point.snapshot_phase ? "snapshot" : "streaming"),
        el("td", { class: "code" }, [point.commits ?? []].flat().map(commitName).join(", "))))))),
  ];
}

function commitName(commit) {
  return typeof commit === "object" ? Object.values(commit).join(" ") : String(commit);
}

function errors(one) {
  const failures = one.failures ?? [];
  const lanes = (one.lanes ?? []).filter((lane) => lane.last_error);
  if (failures.length === 0 && lanes.length === 0) {
    return el("p", { class: "notice good" }, "Nothing has failed.");
  }
  return el("ul", { class: "errors" },
    lanes.map((lane) => el("li", null, el("strong", null, `${lane.lane} (${count(lane.retries)} retries) `), lane.last_error)),
    failures.toReversed().map((failure) => el("li", null, el("strong", null, `${moment(failure.at_ms)} `), failure.message)));
}

function configuration(one) {
  return el("table", null,
    el("thead", null, el("tr", null, el("th", { scope: "col" }, "Key"), el("th", { scope: "col" }, "Value"))),
    el("tbody", null, (one.configuration ?? []).map(({ key, value }) => el("tr", { "data-key": key },
      el("th", { scope: "row", class: "code" }, key), el("td", { class: "code" }, value)))));
}
