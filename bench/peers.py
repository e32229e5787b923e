"""peers.py NAME PORT FOLDER: another tool copies bench.users to Parquet files in a folder, compressed with zstd.

Each peer is a function, run in a process of its own so that its cost can be measured, at the settings that its documentation
recommends for this. It prints its version.
"""

import glob
import os
import sys

sys.path.append(os.environ.get("BENCH_PEERS", ""))


def duckdb(port, folder):
    """DuckDB's MySQL extension, which reads with one connection, and its Parquet writer with two threads."""
    import duckdb as engine

    connection = engine.connect()
    pattern = os.path.join(os.environ["BENCH_PEERS"], "duckdb_extension_mysql", "extensions", "*", "mysql.duckdb_extension")
    # The name of the file names its entry point, and the package calls it otherwise.
    extension = os.path.join(folder, "mysql_scanner.duckdb_extension")
    os.symlink(glob.glob(pattern)[0], extension)
    connection.execute(f"LOAD '{extension}'")
    connection.execute("SET threads = 2; SET preserve_insertion_order = false")
    connection.execute(f"ATTACH 'host=127.0.0.1 port={port} user=root database=bench' AS source (TYPE mysql, READ_ONLY)")
    connection.execute(f"COPY (SELECT * FROM source.users) TO '{folder}/users.parquet' (FORMAT parquet, COMPRESSION zstd)")
    return engine.__version__


def connectorx(port, folder):
    """connectorx with two partitions of the key, into Arrow, and pyarrow's Parquet writer."""
    import connectorx as reader
    import pyarrow.parquet as parquet

    url = f"mysql://root@127.0.0.1:{port}/bench"
    table = reader.read_sql(url, "SELECT * FROM users", partition_on="id", partition_num=2, return_type="arrow")
    parquet.write_table(table, os.path.join(folder, "users.parquet"), compression="zstd")
    return reader.__version__


PEERS = {"DuckDB's MySQL extension": duckdb, "connectorx and pyarrow": connectorx}

if __name__ == "__main__":
    print(PEERS[sys.argv[1]](*sys.argv[2:]))
