"""What DuckDB sees of the benchmark's lake; also makes the rows, because it is quick at that."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "readers"))

import lake  # noqa: E402
from stage import WAREHOUSE, WORK  # noqa: E402

_connection = lake.duckdb_connection()
_connection.execute("SET threads = 1")


def _folder(name):
    return os.path.join(WAREHOUSE, "default_database", name)


def exists(name):
    return os.path.exists(os.path.join(_folder(name), "metadata", "version-hint.text"))


def _row(select, name, where="true"):
    source = lake.duckdb_source(_folder(name))
    return _connection.execute(f"SELECT {select} FROM {source} WHERE {where}").fetchone()


def count(name, where="true"):
    return _row("count(*)", name, where)[0]


_TEXT = ("concat_ws('|', id, name, address, phone, email, CAST(amount AS DECIMAL(12, 2)), "
         "strftime(updated_at, '%Y-%m-%d %H:%M:%S.%f'))")
_CHECKSUM = f"count(*), sum(CAST('0x' || sha256({_TEXT})[1:8] AS UBIGINT))"


def checksum(name):
    return tuple(int(value) for value in _row(_CHECKSUM, name))


def parquet_checksum(folder):
    found = _connection.execute(f"SELECT {_CHECKSUM} FROM read_parquet('{folder}/*.parquet')").fetchone()
    return tuple(int(value) for value in found)


def write_users(rows):
    """A file for LOAD DATA: about 153 bytes a row, with text that does not compress to nothing."""
    path = os.path.join(WORK, "users.tsv")
    _connection.execute(f"""COPY (
        SELECT range + 1, 'user_' || (range + 1), md5(range::VARCHAR) || ' Street ' || (range * 31 % 9973) || ', Shanghai',
               '1' || (range * 7919 % 10000000000), 'user_' || (range + 1) || '@example.com',
               ((range * 37) % 1000000 / 100.0)::DECIMAL(12, 2),
               TIMESTAMP '2024-01-01 00:00:00.123456' + INTERVAL (range % 86400) SECOND
        FROM range({rows})) TO '{path}' (FORMAT csv, DELIMITER '\t', HEADER false)""")
    return path
