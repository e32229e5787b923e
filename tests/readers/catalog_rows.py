"""Prints the rows of table default_database.NAME in a catalog, columns joined by `|`, sorted.

    catalog_rows.py pyiceberg|duckdb NAME KEY=VALUE...     options as Shardlake takes them

DuckDB reads tables of a Hadoop catalog only.
"""

import glob
import os
import sys
from urllib.parse import urlparse

import lake
from pyiceberg.catalog import load_catalog
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import StaticTable


def main(reader, name, *pairs):
    options = dict(pair.split("=", 1) for pair in pairs)
    kind = options.pop("catalog-type")
    if reader == "duckdb":
        rows = by_duckdb(name, options)
    else:
        rows = by_pyiceberg(kind, name, options)
    print("\n".join(sorted("|".join(str(value) for value in row) for row in rows)))


def by_pyiceberg(kind, name, options):
    # Else a bucket's own address is looked for.
    options["py-io-impl"] = "pyiceberg.io.pyarrow.PyArrowFileIO"
    if kind == "hadoop":
        folder = f"{options['warehouse']}/default_database/{name}/metadata"
        with PyArrowFileIO(options).new_input(f"{folder}/version-hint.text").open() as hint:
            version = hint.read().decode().strip()
        table = StaticTable.from_metadata(f"{folder}/v{version}.metadata.json", options)
    else:
        table = load_catalog("lake", type=kind, **options).load_table(("default_database", name))
    return [row.values() for row in table.scan().to_arrow().to_pylist()]


def by_duckdb(name, options):
    connection = lake.duckdb_connection()
    pattern = os.path.join(os.path.dirname(sys.prefix), "seaweedfs", "python", "duckdb_extension_httpfs", "**",
                           "httpfs.duckdb_extension")
    (path,) = glob.glob(pattern, recursive=True)
    connection.execute(f"LOAD '{path}'")
    endpoint = urlparse(options["s3.endpoint"])
    connection.execute(f"""
        CREATE SECRET (TYPE s3, KEY_ID '{options['s3.access-key-id']}', SECRET '{options['s3.secret-access-key']}',
                       REGION '{options['s3.region']}', ENDPOINT '{endpoint.netloc}', URL_STYLE 'path', USE_SSL false)""")
    return connection.execute(
        f"SELECT * FROM iceberg_scan('{options['warehouse']}/default_database/{name}')").fetchall()


main(*sys.argv[1:])
