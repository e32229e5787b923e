"""replay.py TABLE_FOLDER SUM_COLUMN KEY_COLUMN...: one JSON line for each snapshot, oldest first.

Each line has the snapshot's summary, the sum of a column, the number of rows and of rows whose key is there more than
once. Only the files that a snapshot adds are read, so a history of thousands of snapshots is checked as quickly as its
data can be read once. At the end the newest snapshot is compared with what DuckDB reads of the whole table.
"""

import json
import sys
from collections import Counter

import lake
import pyarrow.parquet as parquet
from pyiceberg.manifest import DataFileContent, ManifestEntryStatus


class Replay:
    """The rows of a table, followed from snapshot to snapshot."""

    def __init__(self, sum_column, key_columns):
        self.sum_column = sum_column
        self.key_columns = key_columns
        self.files = {}
        self.keys = Counter()
        self.total = 0
        self.repeated = 0

    def add_row(self, key, value):
        self.keys[key] += 1
        self.repeated += self.keys[key] > 1
        self.total += value

    def remove_row(self, key, value):
        self.repeated -= self.keys[key] > 1
        self.keys[key] -= 1
        if self.keys[key] == 0:
            del self.keys[key]
        self.total -= value

    def add_data(self, path):
        table = parquet.read_table(path.removeprefix("file://"), columns=[*self.key_columns, self.sum_column])
        columns = [column.to_pylist() for column in table.columns]
        rows = {position: (row[:-1], row[-1]) for position, row in enumerate(zip(*columns))}
        self.files[path] = rows
        for key, value in rows.values():
            self.add_row(key, value)

    def remove_data(self, path):
        for key, value in self.files.pop(path).values():
            self.remove_row(key, value)

    def add_position_deletes(self, path):
        table = parquet.read_table(path.removeprefix("file://"), columns=["file_path", "pos"])
        for target, position in zip(table["file_path"].to_pylist(), table["pos"].to_pylist()):
            # A second delete of the same row deletes nothing.
            row = self.files[target].pop(position, None) if target in self.files else None
            if row:
                self.remove_row(*row)

    def apply(self, snapshot, io):
        """Data first: deletes of a snapshot may refer to its own data files."""
        deletes = []
        for manifest in snapshot.manifests(io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            for entry in manifest.fetch_manifest_entry(io, discard_deleted=False):
                file = entry.data_file
                if entry.status == ManifestEntryStatus.EXISTING:
                    continue
                if file.content == DataFileContent.EQUALITY_DELETES:
                    sys.exit(f"an equality delete: {file.file_path}")
                if file.content == DataFileContent.POSITION_DELETES:
                    if entry.status == ManifestEntryStatus.ADDED:
                        deletes.append(file.file_path)
                elif entry.status == ManifestEntryStatus.ADDED:
                    self.add_data(file.file_path)
                else:
                    self.remove_data(file.file_path)
        for path in deletes:
            self.add_position_deletes(path)


def main(folder, sum_column, *key_columns):
    table = lake.pyiceberg_table(folder)
    replay = Replay(sum_column, key_columns)
    for snapshot in sorted(table.snapshots(), key=lambda found: found.sequence_number or 0):
        replay.apply(snapshot, table.io)
        print(json.dumps({"id": snapshot.snapshot_id, "summary": dict(snapshot.summary.additional_properties),
                          "sum": replay.total, "rows": replay.keys.total(), "repeated": replay.repeated}))
    count, total = lake.duckdb_connection().execute(
        f'SELECT count(*), sum("{sum_column}")::HUGEINT FROM ' + lake.duckdb_source(folder)).fetchone()
    if (count, total) != (replay.keys.total(), replay.total):
        sys.exit(f"DuckDB reads {count} rows with the sum {total}, the replay "
                 f"{replay.keys.total()} with {replay.total}")


main(*sys.argv[1:])
