// A job's operators and the streams between them, drawn from left to right.

import { el } from "../element.js";
import { byteRate, count, percent, rate } from "../format.js";

const CARD = { width: 232, height: 118 };
const GAP = { x: 72, y: 22 };
const NAME_CHARS = 27;

/** The picture. Each operator stands one column to the right of its rightmost input. */
export function graph(operators) {
  if (operators.length === 0) {
    return el("p", { class: "notice" }, "The operators are known once the job runs.");
  }
  const places = layout(operators);
  const all = [...places.values()];
  const width = Math.max(...all.map((place) => place.x)) + CARD.width + 4;
  const height = Math.max(...all.map((place) => place.y)) + CARD.height + 4;
  const edges = operators.flatMap((one) => one.inputs.map((input) => edge(places.get(input), places.get(one.id))));
  const spoken = operators.map((one) => `${one.kind} ${one.name}: ${rate(one.rows_per_second)}`).join("; ");
  return el("div", { class: "scroll graph", tabindex: 0, role: "region", "aria-label": "Graph" },
    el("svg", { width, height, viewBox: `-2 -2 ${width} ${height}`, role: "img", "aria-label": spoken },
      edges, operators.map((one) => card(one, places.get(one.id)))));
}

function layout(operators) {
  const known = new Map(operators.map((one) => [one.id, one]));
  const columns = new Map();
  const column = (id) => {
    if (!columns.has(id)) {
      const inputs = (known.get(id)?.inputs ?? []).filter((input) => known.has(input));
      columns.set(id, inputs.length === 0 ? 0 : Math.max(...inputs.map(column)) + 1);
    }
    return columns.get(id);
  };
  const filled = new Map();
  return new Map(operators.map((one) => {
    const x = column(one.id);
    const y = filled.get(x) ?? 0;
    filled.set(x, y + 1);
    return [one.id, { x: x * (CARD.width + GAP.x), y: y * (CARD.height + GAP.y) }];
  }));
}

function edge(from, to) {
  if (!from || !to) {
    return null;
  }
  const [x1, y1] = [from.x + CARD.width, from.y + CARD.height / 2];
  const [x2, y2] = [to.x, to.y + CARD.height / 2];
  const bend = (x1 + x2) / 2;
  return el("path", { class: "edge", d: `M${x1},${y1} C${bend},${y1} ${bend},${y2} ${x2},${y2}` });
}

function card(one, { x, y }) {
  const blocked = one.blocked_share > 0.5;
  const text = (line, what, kind = "") => el("text", { x: 12, y: 20 + line * 18, class: kind }, what);
  return el("g", { transform: `translate(${x},${y})`, class: `operator ${blocked ? "blocked" : ""}`, "data-key": one.id },
    el("title", null, one.name),
    el("rect", { width: CARD.width, height: CARD.height, rx: 8 }),
    text(0, `${one.kind}, ${one.parallelism} ${one.parallelism === 1 ? "worker" : "workers"}`, "quiet"),
    text(1, shortened(one), "name"),
    text(2, `${rate(one.rows_per_second)} · ${byteRate(one.bytes_per_second)}`),
    text(3, `${count(one.row_count)} changes`),
    text(4, `busy ${percent(one.busy_share)} · blocked ${percent(one.blocked_share)}`, blocked ? "warn" : ""),
    el("rect", { class: "meter", x: 12, y: CARD.height - 14, width: CARD.width - 24, height: 5, rx: 2 }),
    el("rect", { class: "meter busy", x: 12, y: CARD.height - 14, height: 5, rx: 2,
      width: Math.round((CARD.width - 24) * Math.min(one.busy_share ?? 0, 1)) }));
}

/** A table's name is told by its end, an expression by its beginning. */
function shortened({ kind, name }) {
  const text = name.replace(/^(Source|Sink): /, "");
  if (text.length <= NAME_CHARS) {
    return text;
  }
  return kind === "transform" ? `${text.slice(0, NAME_CHARS - 1)}…` : `…${text.slice(1 - NAME_CHARS)}`;
}
