// The end of the server's log.

import { el } from "../element.js";

export function logs(lines) {
  if (!lines) {
    return [el("h1", null, "Log"), el("p", { class: "notice" }, "Asking the server…")];
  }
  return [
    el("h1", null, "Log"),
    el("p", { class: "quiet" }, `The last ${lines.length} lines, the newest first.`),
    el("pre", { class: "log", tabindex: 0, "aria-label": "Log" }, lines.toReversed().map((line) =>
      el("span", { class: level(line) }, `${line}\n`))),
  ];
}

function level(line) {
  if (/\bERROR\b/.test(line)) {
    return "bad";
  }
  return /\bWARN\b/.test(line) ? "warn" : "";
}
