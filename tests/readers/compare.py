"""compare.py TABLE_FOLDER OUR_ROWS.json: DuckDB's, pyiceberg's and our rows side by side; exit status 1 if they differ.

OUR_ROWS.json holds one JSON object a line, as `shardlake sql --format json` prints them.
"""

import json
import sys

import canonical
import lake


def text(item):
    return None if item is None else str(canonical.value(item))


def normal(rows):
    return sorted(tuple(sorted((name, text(item)) for name, item in row.items())) for row in rows)


def show(names, rows):
    table = [names] + [["NULL" if row[name] is None else str(canonical.value(row[name])) for name in names]
                       for row in rows]
    widths = [max(len(line[index]) for line in table) for index in range(len(names))]
    for line in table:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def main(table, ours_path):
    cursor = lake.duckdb_connection().execute("SELECT * FROM " + lake.duckdb_source(table))
    names = [column[0] for column in cursor.description]
    duckdb_rows = [dict(zip(names, row)) for row in cursor.fetchall()]
    pyiceberg_rows = lake.pyiceberg_table(table).scan().to_arrow().to_pylist()
    with open(ours_path, encoding="utf-8") as file:
        our_rows = [json.loads(line) for line in file if line.lstrip().startswith("{")]

    print("DuckDB reads:")
    show(names, sorted(duckdb_rows, key=lambda row: str(row[names[2] if len(names) > 2 else names[0]])))
    results = {"DuckDB": duckdb_rows, "pyiceberg": pyiceberg_rows, "Shardlake": our_rows}
    counts = ", ".join(f"{reader} {len(rows)} rows" for reader, rows in results.items())
    if len({str(normal(rows)) for rows in results.values()}) == 1:
        print(f"{counts}: equal")
        return 0
    print(f"{counts}: NOT EQUAL")
    for reader, rows in results.items():
        print(f"{reader}:")
        for row in normal(rows):
            print("  ", row)
    return 1


sys.exit(main(*sys.argv[1:]))
