"""duckdb_rows.py TABLE_FOLDER [SNAPSHOT_ID]: prints the rows that DuckDB sees."""

import sys

import canonical
import lake


def main(table, snapshot_id=None):
    cursor = lake.duckdb_connection().execute("SELECT * FROM " + lake.duckdb_source(table, snapshot_id))
    names = [column[0] for column in cursor.description]
    canonical.print_rows(names, cursor.fetchall())


main(*sys.argv[1:])
