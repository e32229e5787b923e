"""Makes tables with pyiceberg in a folder, and prints what queries on them should say.

    make_foreign.py FOLDER

Each state of a table gets a warehouse of its own, in which the metadata has Hadoop's names, so that our catalog finds
it. A printed line is a JSON object: the warehouse, the table, a query in which the table is `t`, and the rows as texts.
Expectations come from DuckDB over the rows that pyiceberg reads.
"""

import datetime
import decimal
import glob
import importlib.util
import json
import os
import shutil
import sys

import duckdb
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo, GreaterThan, In
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform, TruncateTransform, YearTransform
from pyiceberg.types import (
    BooleanType, DateType, DecimalType, DoubleType, FloatType, IntegerType, ListType, LongType, MapType, NestedField,
    StringType, StructType, TimestampType, TimestamptzType,
)

# pyiceberg computes all transforms but the identity in this package, which is not always there.
TRANSFORMS = importlib.util.find_spec("pyiceberg_core") is not None

WIDE = Schema(
    NestedField(1, "id", IntegerType(), required=False),
    NestedField(2, "region", StringType(), required=False),
    NestedField(3, "price", DecimalType(9, 2), required=False),
    NestedField(4, "ratio", FloatType(), required=False),
    NestedField(5, "moment", TimestampType(), required=False),
    NestedField(6, "seen", TimestamptzType(), required=False),
    NestedField(7, "day", DateType(), required=False),
    NestedField(8, "ok", BooleanType(), required=False),
)


def wide_rows(ids):
    def row(i):
        nothing = i % 11 == 0
        moment = datetime.datetime(1969, 12, 25) + datetime.timedelta(hours=7 * i, microseconds=i)
        return {
            "id": i,
            "region": None if nothing else ["north", "south", "ünder\u4e2d", "x" * 40 + str(i % 3)][i % 4],
            "price": None if nothing else decimal.Decimal(i * 37 - 500) / 100,
            "ratio": None if nothing else i / 4,
            "moment": None if nothing else moment,
            "seen": None if nothing else moment.replace(tzinfo=datetime.timezone.utc),
            "day": None if nothing else moment.date(),
            "ok": None if nothing else i % 3 == 0,
        }

    fields = [
        ("id", pa.int32()), ("region", pa.string()), ("price", pa.decimal128(9, 2)), ("ratio", pa.float32()),
        ("moment", pa.timestamp("us")), ("seen", pa.timestamp("us", "UTC")), ("day", pa.date32()), ("ok", pa.bool_()),
    ]
    return pa.Table.from_pylist([row(i) for i in ids], schema=pa.schema(fields))


# What is asked of the tables with the columns of WIDE.
SELECTED = "SELECT id, region, price, ratio, ok, day FROM t"
CONDITIONS = [
    "id >= 0", "id = 17", "id <> 17 AND id < 20", "id IN (3, 4, 90, 1000)", "region = 'north'", "region IS NULL",
    "region LIKE 'xxx%'", "region > 'south'", "NOT (region = 'north' OR id < 50)", "price BETWEEN 1.00 AND 3.00",
    "ratio > 20.5", "ok", "NOT ok", "day = DATE '1970-01-04'", "day < DATE '1970-01-01'",
    "moment >= TIMESTAMP '1970-01-02 00:00:00'", "moment < TIMESTAMP '1969-12-28 07:00:00'", "id + 1 = 5",
]


def transforms(spec):
    return PartitionSpec(*[
        PartitionField(source_id=source, field_id=1000 + place, transform=transform, name=f"p{place}")
        for place, (source, transform) in enumerate(spec)
    ])


def make_tables(catalog):
    catalog.create_namespace("db")

    plain = catalog.create_table("db.plain", WIDE)
    plain.append(wide_rows(range(0, 40)))
    plain.append(wide_rows(range(40, 100)))
    plain.delete(In("id", [5, 50, 51]))
    plain.overwrite(wide_rows([7, 200]), overwrite_filter=EqualTo("id", 7))
    yield "plain", CONDITIONS

    specs = {"identity": [(2, IdentityTransform()), (8, IdentityTransform())]}
    if TRANSFORMS:
        specs |= {
            "bucket": [(1, BucketTransform(4)), (2, BucketTransform(3))],
            "days": [(5, DayTransform())],
            "years": [(7, YearTransform()), (2, TruncateTransform(2))],
            "numbers": [(1, TruncateTransform(10)), (8, IdentityTransform())],
        }
    for name, spec in specs.items():
        table = catalog.create_table(f"db.{name}", WIDE, partition_spec=transforms(spec))
        table.append(wide_rows(range(0, 60)))
        table.append(wide_rows(range(60, 100)))
        table.delete(GreaterThan("id", 95))
        yield name, CONDITIONS

    upgraded = catalog.create_table("db.upgraded", WIDE, properties={"format-version": "1"})
    upgraded.append(wide_rows(range(0, 50)))
    upgraded.delete(EqualTo("id", 3))
    yield "upgraded", CONDITIONS[:2]
    with upgraded.transaction() as transaction:
        transaction.upgrade_table_version(2)
    upgraded.append(wide_rows(range(50, 100)))
    upgraded.delete(EqualTo("id", 60))
    yield "upgraded", CONDITIONS[:5]

    respec = catalog.create_table("db.respec", WIDE)
    respec.append(wide_rows(range(0, 30)))
    with respec.update_spec() as update:
        update.add_identity("region")
    respec.append(wide_rows(range(30, 60)))
    with respec.update_spec() as update:
        update.remove_field("region")
        update.add_field("id", BucketTransform(5) if TRANSFORMS else IdentityTransform(), "parts")
    respec.append(wide_rows(range(60, 100)))
    respec.delete(EqualTo("id", 31))
    yield "respec", CONDITIONS

    evolved = catalog.create_table("db.evolved", WIDE)
    evolved.append(wide_rows(range(0, 30)))
    with evolved.update_schema() as update:
        update.update_column("id", LongType())
        update.update_column("price", DecimalType(18, 2))
        update.update_column("ratio", DoubleType())
        update.rename_column("region", "area")
        update.delete_column("seen")
        update.move_first("ok")
    with evolved.update_schema() as update:
        update.add_column("region", StringType())
    rows = wide_rows(range(30, 60)).to_pylist()
    rows = [{**row, "area": f"area {row['id'] % 2}", "id": row["id"] + (1 << 40)} for row in rows]
    evolved.append(pa.Table.from_pylist(rows, schema=evolved.schema().as_arrow()))
    evolved.delete(EqualTo("area", "area 1"))
    yield "evolved", ["id > 1000", "id = 1099511627816", "area = 'north'", "region = 'north'", "region IS NULL",
                      "price > 0 AND ratio < 5", "NOT ok"]

    nested_schema = Schema(
        NestedField(1, "id", LongType(), required=False),
        NestedField(2, "point", StructType(
            NestedField(3, "x", IntegerType(), required=False), NestedField(4, "y", StringType(), required=False),
        ), required=False),
        NestedField(5, "tags", ListType(6, StringType(), element_required=False), required=False),
        NestedField(7, "facts", MapType(8, StringType(), 9, IntegerType(), value_required=False), required=False),
    )
    nested = catalog.create_table("db.nested", nested_schema)
    rows = [
        {"id": i, "point": {"x": i, "y": f"y{i}"} if i % 3 else None, "tags": [f"t{i}"] * (i % 3),
         "facts": [("k", i)] if i % 2 else None}
        for i in range(10)
    ]
    nested.append(pa.Table.from_pylist(rows, schema=nested.schema().as_arrow()))
    with nested.update_schema() as update:
        update.update_column(("point", "x"), LongType())
        update.rename_column(("point", "y"), "label")
        update.add_column(("point", "z"), StringType())
    rows = [{"id": 100, "point": {"x": 1 << 40, "label": "big", "z": "zed"}, "tags": ["last"], "facts": None}]
    nested.append(pa.Table.from_pylist(rows, schema=nested.schema().as_arrow()))
    yield "nested", None


NESTED = [
    "SELECT id, point['x'] AS x, point['label'] AS label, point['z'] AS z FROM t",
    "SELECT id FROM t WHERE point['x'] > 5",
    "SELECT id FROM t WHERE point['label'] = 'y4'",
    "SELECT id FROM t WHERE point['z'] IS NOT NULL",
    "SELECT id FROM t WHERE tags[1] = 't4' OR tags[1] = 'last'",
]


def publish(table, folder):
    """Gives the newest metadata the names of Hadoop's catalog."""
    metadata = os.path.join(folder, "metadata")
    shutil.copy(table.metadata_location.removeprefix("file://"), os.path.join(metadata, "v1.metadata.json"))
    with open(os.path.join(metadata, "version-hint.text"), "w") as hint:
        hint.write("1")


def text(value):
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def main(folder):
    lake = os.path.join(folder, "lake")
    os.makedirs(lake)
    states = []
    catalog = SqlCatalog("c", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{lake}")
    for name, conditions in make_tables(catalog):
        table = catalog.load_table(f"db.{name}")
        (made,) = [path for path in glob.glob(f"{lake}/**/{name}", recursive=True) if os.path.isdir(path)]
        # Each state is a table of its own, since the reader comes when all is done.
        found = os.path.join(folder, f"states-{len(states)}", "db", name)
        states.append(found)
        shutil.copytree(os.path.join(made, "metadata"), os.path.join(found, "metadata"))
        publish(table, found)
        t = table.scan().to_arrow()
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("t", t)
        if conditions is None:
            queries = NESTED
        else:
            selected = SELECTED if "area" not in t.column_names else SELECTED.replace("id,", "id, area,")
            queries = [selected, "SELECT count(*) AS n FROM t", "SELECT count(region) AS n, max(id) AS m FROM t"]
            queries += [f"{selected} WHERE {condition}" for condition in conditions]
        for query in queries:
            rows = connection.execute(query).fetchall()
            rows = sorted([[text(value) for value in row] for row in rows], key=str)
            line = {"warehouse": os.path.dirname(os.path.dirname(found)), "table": name, "sql": query, "rows": rows}
            print(json.dumps(line))


main(sys.argv[1])
