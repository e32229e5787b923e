"""What DuckDB pays to read db.aged beside db.fresh, which the example `read_cost` of crate
shardlake-iceberg-table makes in a folder: `python read_cost.py FOLDER`."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "readers"))

import lake  # noqa: E402


def best_ms(connection, folder, query):
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        connection.execute(query.format(lake.duckdb_source(folder))).fetchall()
        best = min(best, (time.perf_counter() - start) * 1e3)
    return best


def main(warehouse):
    connection = lake.duckdb_connection()
    connection.execute("SET threads = 2")
    for query in ("SELECT count(*) FROM {}", "SELECT sum(id), max(name) FROM {}", "SELECT * FROM {} WHERE id = 4711"):
        aged, fresh = (best_ms(connection, os.path.join(warehouse, "db", name), query) for name in ("aged", "fresh"))
        print(f"DuckDB {query}: aged {aged:.1f} ms, fresh {fresh:.1f} ms, {aged / fresh:.2f}x")
    rows = [connection.execute("SELECT count(*), sum(id), sum(hash(name)) FROM "
                               + lake.duckdb_source(os.path.join(warehouse, "db", name))).fetchone()
            for name in ("aged", "fresh")]
    print("equal rows:", rows[0] == rows[1])


main(sys.argv[1])
