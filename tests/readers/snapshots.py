"""snapshots.py TABLE_FOLDER [SELECT_LIST]: one JSON line for each snapshot, oldest first.

With a select list, such as `count(*), sum(balance)`, each line also has its values in that snapshot, as DuckDB
computes them.
"""

import json
import sys

import canonical
import lake


def main(table, select_list=None):
    connection = lake.duckdb_connection()
    for snapshot in sorted(lake.pyiceberg_table(table).snapshots(), key=lambda found: found.sequence_number or 0):
        summary = dict(snapshot.summary.additional_properties)
        line = {"id": snapshot.snapshot_id, "parent": snapshot.parent_snapshot_id,
                "operation": snapshot.summary.operation.value, "summary": summary}
        if select_list:
            source = lake.duckdb_source(table, snapshot.snapshot_id)
            row = connection.execute(f"SELECT {select_list} FROM {source}").fetchone()
            line["values"] = [canonical.value(item) for item in row]
        print(json.dumps(line, ensure_ascii=False, separators=(",", ":")))


main(*sys.argv[1:])
