// Pictures of numbers over time, as SVG. Each has a title and a description, so that it can be read aloud.

import { el } from "./element.js";

const WIDTH = 360;
const HEIGHT = 96;
const TOP = 8;

/**
 * Lines over time. `series` is a list of `{ label, values, kind }`; `kind` is the class that colours it. `format` writes a value.
 */
export function lines({ title, series, times, format }) {
  const all = series.flatMap((one) => one.values.filter((value) => value !== null && value !== undefined));
  const top = Math.max(...all, 0) || 1;
  const from = times[0] ?? 0;
  const span = Math.max((times.at(-1) ?? 1) - from, 1);
  const x = (time) => ((time - from) / span) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * (HEIGHT - TOP);
  const drawn = series.map((one) => {
    const points = one.values
      .map((value, index) => (value === null || value === undefined ? null : [x(times[index]), y(value)]))
      .filter(Boolean);
    const text = points.map(([left, up]) => `${left.toFixed(1)},${up.toFixed(1)}`).join(" ");
    return el("polyline", { points: text, class: `line ${one.kind}` });
  });
  const newest = (one) => one.values.findLast((value) => value !== null && value !== undefined);
  const spoken = series.map((one) => `${one.label} ${format(newest(one))}`).join(", ");
  return el("figure", { class: "chart" },
    el("figcaption", null, title, el("span", { class: "legend" },
      series.map((one) => el("span", { class: one.kind }, `${one.label} ${format(newest(one))}`)))),
    el("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${title}: now ${spoken}; at most ${format(Math.max(...all, 0))}` },
      el("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT, class: "axis" }), drawn),
    el("p", { class: "scale" }, `at most ${format(Math.max(...all, 0))}`));
}

/** Bars, one for each entry of `values`: `{ value, label }`. */
export function bars({ title, values, format, kind = "first" }) {
  const top = Math.max(...values.map((entry) => entry.value), 0) || 1;
  const step = WIDTH / Math.max(values.length, 1);
  const drawn = values.map((entry, index) => {
    const height = (entry.value / top) * (HEIGHT - TOP);
    return el("rect", { x: (index * step).toFixed(2), y: (HEIGHT - height).toFixed(2),
      width: Math.max(step - 1, 0.8).toFixed(2), height: height.toFixed(2), class: `bar ${kind}` },
    el("title", null, `${entry.label}: ${format(entry.value)}`));
  });
  return el("figure", { class: "chart" },
    el("figcaption", null, title),
    el("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${title}: ${values.length} bars, at most ${format(Math.max(...values.map((entry) => entry.value), 0))}` },
      el("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT, class: "axis" }), drawn),
    el("p", { class: "scale" }, `at most ${format(Math.max(...values.map((entry) => entry.value), 0))}`));
}
