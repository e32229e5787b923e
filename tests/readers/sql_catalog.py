"""Works on a table of pyiceberg's SQL catalog `lake` in FOLDER/catalog.db, whose warehouse is FOLDER.

    sql_catalog.py FOLDER create TABLE          makes it with the rows 1 | one and 2 | two
    sql_catalog.py FOLDER append TABLE COUNT    appends rows one by one, each again when another writer was faster
    sql_catalog.py FOLDER rows TABLE            prints the rows, sorted as text
"""

import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NamespaceAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType

ARROW = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])


def main() -> None:
    folder, command, name = sys.argv[1:4]
    catalog = SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder)
    if command == "create":
        create(catalog, name)
    elif command == "append":
        append(catalog, name, int(sys.argv[4]))
    else:
        rows = catalog.load_table(name).scan().to_arrow().to_pylist()
        print("\n".join(sorted(f"{row['id']} | {row['name']}" for row in rows)))


def create(catalog: SqlCatalog, name: str) -> None:
    try:
        catalog.create_namespace(name.split(".")[0])
    except NamespaceAlreadyExistsError:
        pass
    schema = Schema(
        NestedField(1, "id", LongType(), required=True),
        NestedField(2, "name", StringType(), required=False),
        identifier_field_ids=[1],
    )
    table = catalog.create_table(name, schema, properties={"format-version": "2"})
    table.append(pa.table({"id": [1, 2], "name": ["one", "two"]}, schema=ARROW))


def append(catalog: SqlCatalog, name: str, count: int) -> None:
    for number in range(count):
        rows = pa.table({"id": [1_000_000 + number], "name": ["appended"]}, schema=ARROW)
        for _ in range(1000):
            try:
                catalog.load_table(name).append(rows)
                break
            except CommitFailedException:
                continue
        else:
            raise SystemExit("other writers were faster a thousand times")


main()
