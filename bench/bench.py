"""The benchmark behind `make bench`; started by scripts/bench.sh, which also starts MySQL.

What is measured of Shardlake stands beside a limit measured in the same run: packets that are framed and thrown away.
What was written is compared with MySQL by a checksum over every value.
"""

import json
import os
import platform
import random
import shutil
import statistics
import sys
import time

from peers import PEERS
from stage import (BINARY, PORT, WORK, Job, binlog_files, binlog_size, cpu_seconds, drain, lake_table, mysql, mysqlbinlog_raw,
                   run_measured, server_cpu, source_table)
import lake_reader as lake

SHORT = bool(os.environ.get("SHORT"))
ROWS = int(os.environ.get("BENCH_ROWS", 400_000 if SHORT else 2_000_000))
UPDATES = int(os.environ.get("BENCH_UPDATES", 200_000 if SHORT else 1_000_000))
MARKERS = int(os.environ.get("BENCH_MARKERS", 12 if SHORT else 30))
COLUMNS = [("id", "BIGINT", "BIGINT"), ("name", "VARCHAR(255)", "STRING"), ("address", "VARCHAR(1024)", "STRING"),
           ("phone", "VARCHAR(512)", "STRING"), ("email", "VARCHAR(255)", "STRING"),
           ("amount", "DECIMAL(12,2)", "DECIMAL(12, 2)"), ("updated_at", "DATETIME(6)", "TIMESTAMP(6)")]
results = {}
table = []


def note(text):
    print(f"    {text}", flush=True)


def put(name, value, unit, beside=None):
    """A line of the table; `beside` is (limit, what it is), in the same unit."""
    key = f"{beside[1]}{name}" if beside and name.startswith(" ") else name
    results[key] = {"value": value, "unit": unit}
    line = [name, f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}", unit, ""]
    if beside:
        limit, what = beside
        results[key] |= {"limit": limit, "limit_is": what, "ratio": value / limit}
        line[3] = f"{value / limit:5.2f} x {limit:,.0f} ({what})"
    table.append(line)


def create_users():
    columns = ", ".join(f"{name} {kind}" for name, kind, _ in COLUMNS)
    mysql(f"CREATE TABLE bench.users ({columns.replace('BIGINT', 'BIGINT PRIMARY KEY', 1)})")
    path = lake.write_users(ROWS)
    mysql(f"LOAD DATA INFILE '{path}' INTO TABLE bench.users FIELDS TERMINATED BY '\\t'; ANALYZE TABLE bench.users")
    os.remove(path)


def script(name, extra_source="", interval="1s", source="users"):
    columns = ", ".join(f"{column} {kind}" + (" NOT NULL" if column == "id" else "") for column, _, kind in COLUMNS)
    columns += ", PRIMARY KEY (id) NOT ENFORCED"
    return (f"SET 'execution.checkpointing.interval' = '{interval}';\n" + source_table("s", columns, source, extra_source)
            + lake_table(name, columns) + f"INSERT INTO `{name}` SELECT * FROM s;\n")


def check(name):
    ours, theirs = lake.checksum(name), tuple(mysql(
        "SELECT COUNT(*), SUM(CAST(CONV(LEFT(SHA2(CONCAT_WS('|', id, name, address, phone, email, amount, updated_at), 256), 8), "
        "16, 10) AS UNSIGNED)) FROM bench.users").split())
    theirs = tuple(int(float(value)) for value in theirs)
    if ours != theirs:
        sys.exit(f"{name}: the lake {ours} is not MySQL {theirs}")
    note(f"{name}: {ours[0]:,} rows, checksum equal to MySQL's")


def measure_start_up():
    for what, arguments in (("start-up, --version", ["--version"]), ("start-up, SELECT 1", ["sql", "-e", "SELECT 1;"])):
        times = []
        for _ in range(15):
            run = run_measured([BINARY, *arguments], "start-up")
            times.append(run.seconds * 1_000)
        put(what, statistics.median(times), "ms")


def measure_snapshot():
    halves = [f"SELECT * FROM bench.users WHERE id {side} {ROWS // 2}" for side in ("<=", ">")]
    mysql("SELECT COUNT(*), MAX(email) FROM bench.users")
    one = drain("query", "SELECT * FROM bench.users")
    two = drain("query", *halves)
    for drained in (one, two):
        assert drained["packets"] == ROWS, drained
    limit = max(ROWS / one["seconds"], ROWS / two["seconds"])
    before = server_cpu()
    run = run_measured([BINARY, "sql", "-f", "-"], "snapshot",
                       script("snapshot", ", 'scan.startup.mode' = 'snapshot'", "10s"))
    server = server_cpu() - before
    check("snapshot")
    put("snapshot, rows/s", ROWS / run.seconds, "rows/s", (limit, "packet drain, 1 or 2 connections"))
    put("snapshot, rows per CPU-second", ROWS / run.cpu_seconds, "rows/CPU-s",
        (ROWS / two["cpu_seconds"], "packet drain"))
    put("snapshot, server CPU per row", server / ROWS * 1e9, "ns")
    put("snapshot, peak memory", run.peak_bytes / 1e6, "MB")
    for name in PEERS:
        compare_snapshot(name, run)


def compare_snapshot(name, ours):
    """Our figures beside a peer's that copies the same table to plain Parquet files, which is less work."""
    folder = os.path.join(WORK, "peer")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    if not os.environ.get("BENCH_PEERS"):
        table.append([f"snapshot, beside {name}", "-", "", "the package cannot be had"])
        return
    command = [sys.executable, "-B", os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers.py"), name, PORT, folder]
    run = run_measured(command, "peer")
    found, wanted = lake.parquet_checksum(folder), lake.checksum("snapshot")
    if found != wanted:
        table.append([f"snapshot, beside {name}", "-", "", f"what it wrote differs: {found} instead of {wanted}"])
        return
    put(f"snapshot, beside {name}", ROWS / ours.seconds, "rows/s", (ROWS / run.seconds, name))
    put("  per CPU-second", ROWS / ours.cpu_seconds, "rows/CPU-s", (ROWS / run.cpu_seconds, name))
    put("  peak memory", ours.peak_bytes / 1e6, "MB", (run.peak_bytes / 1e6, name))


def measure_backlog():
    """Reads all rows, stops, lets a backlog grow, and measures how fast a new start works it off."""
    job = Job("backlog", script("backlog", interval="1s"))
    job.wait_for(lambda: lake.exists("backlog") and lake.count("backlog") == ROWS, 300)
    job.stop()
    first_file = mysql("FLUSH BINARY LOGS; SHOW BINARY LOGS").splitlines()[-1].split()[0]
    mysql(f"""CREATE PROCEDURE bench.work(n INT) BEGIN DECLARE i INT DEFAULT 0;
        WHILE i < n DO
          START TRANSACTION;
          SET @end = LEAST(i + 1000, n);
          WHILE i < @end DO
            UPDATE bench.users SET amount = amount + 1, updated_at = NOW(6) WHERE id = 1 + (i * 7919) MOD {ROWS};
            SET i = i + 1;
          END WHILE;
          COMMIT;
        END WHILE; END""", delimiter=True)
    mysql(f"CALL bench.work({UPDATES})")
    mysql("UPDATE bench.users SET name = 'marker' WHERE id = 1")
    files = [name for name in binlog_files() if name >= first_file]
    size = sum(binlog_size(name) for name in files)
    framed = [drain("binlog", name) for name in files]
    raw_limit = UPDATES / sum(part["seconds"] for part in framed)
    tool_limit = UPDATES / mysqlbinlog_raw(files)

    job = Job("backlog", script("backlog", interval="1s"))
    seconds = job.wait_for(lambda: lake.count("backlog", "name = 'marker'") == 1, 600)
    cpu, peak = cpu_seconds(job.pid), job.peak_bytes()
    job.stop()
    check("backlog")
    note(f"backlog: {size / 1e6:,.0f} MB of binlog")
    put("backlog, updates/s", UPDATES / seconds, "updates/s", (raw_limit, "packet drain"))
    put("backlog, beside mysqlbinlog", UPDATES / seconds, "updates/s", (tool_limit, "mysqlbinlog --raw"))
    put("backlog, updates per CPU-second", UPDATES / cpu, "updates/CPU-s")
    put("backlog, peak memory", peak / 1e6, "MB")


def measure_latency():
    mysql("CREATE TABLE bench.few LIKE bench.users; INSERT INTO bench.few SELECT * FROM bench.users LIMIT 10000")
    job = Job("latency", script("latency", interval="1s", source="few"))
    job.wait_for(lambda: lake.exists("latency") and lake.count("latency") == 10_000, 120)
    times = []
    phases = random.Random(7)
    for marker in range(MARKERS):
        # At any phase of the interval.
        time.sleep(phases.uniform(0.2, 1.2))
        row_id = 1_000_000_000 + marker
        mysql(f"INSERT INTO bench.few (id, name) VALUES ({row_id}, 'marker')")
        times.append(job.wait_for(lambda: lake.count("latency", f"id = {row_id}") == 1, 60, 0.02))
    job.stop()
    times.sort()
    put("visible latency at 1 s, median", statistics.median(times), "s")
    put("visible latency at 1 s, worst", times[-1], "s")


CASES = {"start-up": measure_start_up, "snapshot": measure_snapshot, "backlog": measure_backlog,
         "latency": measure_latency}


def main(folder, *names):
    print(f"{platform.machine()}, {os.cpu_count()} cores shared with MySQL; {ROWS:,} rows, {UPDATES:,} updates")
    unknown = set(names) - CASES.keys()
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    create_users()
    note(f"bench.users filled with {ROWS:,} rows")
    for name in names or CASES:
        CASES[name]()
    path = os.path.join(folder, time.strftime("%Y-%m-%dT%H-%M-%S.json"))
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"rows": ROWS, "updates": UPDATES, "cores": os.cpu_count(), "load": os.getloadavg(),
                   "results": results}, file, indent=1)
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    print()
    for name, value, unit, beside in table:
        print(f"{name.ljust(widths[0])}  {value.rjust(widths[1])} {unit.ljust(widths[2])}  {beside}".rstrip())


main(*sys.argv[1:])
