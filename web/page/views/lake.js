// The tables of the lake that a job writes: their files, deletes and snapshots, and how they grew.

import { bars } from "../chart.js";
import { el } from "../element.js";
import { bytes, count } from "../format.js";
import { figure } from "./overview.js";

const CONTENTS = [
  ["data", "Data files"],
  ["position_deletes", "Position deletes"],
  ["equality_deletes", "Equality deletes"],
];

export function lake(tables) {
  if (!tables) {
    return el("p", { class: "notice" }, "Reading the tables' metadata…");
  }
  if (tables.length === 0) {
    return el("p", { class: "notice" }, "This job writes no table of the lake.");
  }
  return tables.map((table) => el("article", { "data-key": table.name },
    el("h2", null, table.name),
    table.error ? el("p", { class: "notice bad" }, table.error) : details(table)));
}

function details({ snapshots = [], files = {} }) {
  const newest = snapshots[0]?.summary ?? {};
  const oldestFirst = snapshots.toReversed();
  const series = (title, key, format, kind) => bars({ title, format, kind, values: oldestFirst
    .map((snapshot) => ({ value: Number(snapshot.summary?.[key] ?? 0), label: `${snapshot.committed_at}, ${snapshot.operation}` })) });
  const maintained = snapshots.filter((snapshot) => snapshot.operation === "replace").length;
  return [
    el("dl", { class: "figures" },
      figure("Rows", count(Number(newest["total-records"] ?? 0) - Number(newest["total-position-deletes"] ?? 0))),
      CONTENTS.map(([key, label]) => {
        const kind = files[key] ?? {};
        return figure(label, `${count(kind.file_count ?? 0)} files, ${bytes(kind.size_bytes ?? 0)}`);
      }),
      figure("Snapshots kept", count(snapshots.length)),
      figure("Compactions among them", count(maintained))),
    el("div", { class: "charts" },
      series("Data files after each snapshot", "total-data-files", count, "first"),
      series("Delete files after each snapshot", "total-delete-files", count, "second"),
      series("Rows added by each snapshot", "added-records", count, "first"),
      series("Bytes of the table after each snapshot", "total-files-size", bytes, "second")),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Snapshots" }, el("table", null,
      el("thead", null, el("tr", null, ["Snapshot", "Committed", "Operation", "Epoch", "Phase", "Added", "Deleted", "Files"]
        .map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", null, snapshots.map(snapshotRow)))),
  ];
}

function snapshotRow(snapshot) {
  const summary = snapshot.summary ?? {};
  const number = (key) => count(Number(summary[key] ?? 0));
  return el("tr", { "data-key": snapshot.snapshot_id },
    el("th", { scope: "row", class: "code" }, String(snapshot.snapshot_id)),
    el("td", null, snapshot.committed_at),
    el("td", null, el("span", { class: `chip operation-${snapshot.operation}` }, snapshot.operation)),
    el("td", { class: "number" }, summary["shardlake.epoch"] ?? ""),
    el("td", null, summary["shardlake.phase"] ?? ""),
    el("td", { class: "number" }, number("added-records")),
    el("td", { class: "number" }, count(Number(summary["added-position-deletes"] ?? 0) + Number(summary["added-equality-deletes"] ?? 0))),
    el("td", { class: "number" }, number("total-data-files")));
}
