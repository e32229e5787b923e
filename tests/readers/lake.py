"""Opens a table folder with the two foreign readers, offline."""

import glob
import os
import sys


def duckdb_connection():
    import duckdb

    connection = duckdb.connect()
    root = os.path.join(sys.prefix, "lib", "python*", "site-packages")
    # The Iceberg extension needs Avro's, and would download it if it were not loaded first.
    for name in ("avro", "iceberg"):
        pattern = os.path.join(root, f"duckdb_extension_{name}", "extensions", "*", f"{name}.duckdb_extension")
        (path,) = glob.glob(pattern)
        connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def duckdb_source(table, snapshot_id=None):
    folder = table.removeprefix("file://").replace("'", "''")
    at = f", snapshot_from_id = {int(snapshot_id)}" if snapshot_id else ""
    return f"iceberg_scan('{folder}'{at})"


def pyiceberg_table(table):
    from pyiceberg.table import StaticTable

    return StaticTable.from_metadata(table)
