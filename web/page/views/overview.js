// The server at a glance, and its jobs.

import { el } from "../element.js";
import { byteRate, bytes, count, duration, moment, rate } from "../format.js";

const ENDED = new Set(["FINISHED", "CANCELED", "FAILED"]);

/** The first view: figures of the whole server, and the jobs that run. */
export function overview(server) {
  const running = server.jobs.filter((one) => !ENDED.has(one.status));
  const total = (field) => running.reduce((sum, one) => sum + (one[field] ?? 0), 0);
  const process = server.process;
  return [
    el("h1", null, "Overview"),
    el("dl", { class: "figures" },
      figure("Jobs running", `${running.length} of ${server.jobs.length}`),
      figure("Changes read", rate(total("rows_per_second"))),
      figure("Bytes read", byteRate(total("bytes_per_second"))),
      figure("Changes committed", rate(total("committed_rows_per_second"))),
      figure("Memory", `${bytes(process.resident_bytes)} of ${bytes(process.machine_bytes)}`),
      figure("Processor time", duration(process.cpu_seconds * 1_000)),
      figure("Up for", duration(server.now_ms - server.started_at_ms)),
      figure("SQL sessions", count(server.sessions))),
    el("h2", null, "Running jobs"),
    jobTable(running, server.now_ms, "No job runs. Submit an INSERT on the SQL page or with the SQL client."),
  ];
}

export function figure(name, value, kind = "") {
  return el("div", { class: `figure ${kind}` }, el("dt", null, name), el("dd", null, value));
}

/** All jobs, those that have ended too. */
export function jobs(server) {
  return [
    el("h1", null, "Jobs"),
    jobTable(server.jobs, server.now_ms, "No job was submitted yet."),
  ];
}

/** A status in words and colour. */
export function chip(status) {
  return el("span", { class: `chip status-${status.toLowerCase()}` }, status);
}

function jobTable(list, now, none) {
  if (list.length === 0) {
    return el("p", { class: "notice" }, none);
  }
  const head = ["Job", "Status", "Read", "Bytes", "Committed", "Lag", "Freshness", "Last commit", "Started"];
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Jobs" },
    el("table", null,
      el("thead", null, el("tr", null, head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", null, list.map((one) => jobRow(one, now)))));
}

function jobRow(one, now) {
  const hasEnded = ENDED.has(one.status);
  const live = (value) => (hasEnded ? "" : value);
  const sinceCommit = one.last_commit_ms ? `${duration(Math.max(now - one.last_commit_ms, 0))} ago` : "–";
  return el("tr", { "data-key": one.id },
    el("th", { scope: "row" }, el("a", { href: `#/jobs/${one.id}` }, one.name),
      one.failure && el("div", { class: "reason" }, one.failure)),
    el("td", null, chip(one.status)),
    el("td", { class: "number" }, live(rate(one.rows_per_second))),
    el("td", { class: "number" }, live(byteRate(one.bytes_per_second))),
    el("td", { class: "number" }, one.committed_row_count === undefined ? "" : count(one.committed_row_count)),
    el("td", { class: "number" }, live(duration(one.lag_ms))),
    el("td", { class: "number" }, live(duration(one.freshness_ms))),
    el("td", { class: "number" }, live(sinceCommit)),
    el("td", null, moment(one.started_at_ms)));
}
