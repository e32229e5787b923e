"""pyiceberg_rows.py TABLE_FOLDER [SNAPSHOT_ID]: prints the rows that pyiceberg sees."""

import sys

import canonical
import lake


def main(table, snapshot_id=None):
    scan = lake.pyiceberg_table(table).scan(snapshot_id=int(snapshot_id) if snapshot_id else None)
    found = scan.to_arrow()
    columns = [column.to_pylist() for column in found.columns]
    canonical.print_rows(found.column_names, zip(*columns))


main(*sys.argv[1:])
