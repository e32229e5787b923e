"""Other people's clients of Flink's servers, unmodified, against ours: `flink_clients.py HOST PORT FOLDER`.

py-flink-sql-gateway (PEP 249) runs statements and fetches results; flink-rest-client looks at the job in every way that it
knows, makes savepoints and ends it. Prints a line for each step; the first surprise ends it with a failure.
"""

import sys
import time
from importlib.metadata import version

import flink_gateway
import flink_rest_client
from flink_rest_client import FlinkRestClient

host, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def step(text):
    print(text, flush=True)


def wait(what, find, patience=60):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = find()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"{what} did not come")


step(f"py-flink-sql-gateway {version('py-flink-sql-gateway')}")
connection = flink_gateway.connect(f"http://{host}:{port}")
cursor = connection.cursor()
for statement in [
    "SET 'execution.checkpointing.interval' = '300ms'",
    "CREATE TABLE numbers (id BIGINT, name STRING, amount DECIMAL(10, 2), PRIMARY KEY (id) NOT ENFORCED) WITH ('connector'='datagen',"
    "'number-of-rows'='12','fields.id.kind'='sequence','fields.id.start'='1','fields.id.end'='12')",
    "CREATE TABLE endless (id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector'='datagen',"
    "'rows-per-second'='50','fields.id.kind'='sequence','fields.id.start'='1','fields.id.end'='1000000')",
    "CREATE TABLE lake (id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector'='iceberg',"
    f"'catalog-name'='c','catalog-type'='hadoop','warehouse'='file://{folder}/lake')",
]:
    cursor.execute(statement)
cursor.execute("SHOW TABLES")
tables = [row[0] for row in cursor.fetchall()]
assert tables == ["endless", "lake", "numbers"], tables
step(f"SHOW TABLES: {tables}")
cursor.execute("SELECT id, amount, name FROM numbers")
names = [column[0] for column in cursor.description]
rows = cursor.fetchall()
assert names == ["id", "amount", "name"] and [row[0] for row in rows] == list(range(1, 13)), (names, rows)
step(f"SELECT: {len(rows)} rows of {names}")
try:
    cursor.execute("SELECT * FROM nosuch")
    cursor.fetchall()
    raise SystemExit("a mistake was not reported")
except flink_gateway.Error as error:
    assert "nosuch" in str(error), error
    step("a mistake is reported")
cursor.execute("INSERT INTO lake SELECT id, name FROM endless")
job = cursor.fetchone()[0]
step("INSERT: submitted")

step(f"flink-rest-client {version('flink-rest-client')}")
client = FlinkRestClient.get(host=host, port=port)
assert client.overview()["jobs-running"] == 1
client.config()
client.datasets()
jobs = client.jobs
wait("the job", lambda: jobs.get(job_id=job)["state"] == "RUNNING")
assert job in jobs.job_ids() and any(one["jid"] == job for one in jobs.overview())
wait("a checkpoint", lambda: jobs.get_checkpoint_ids(job_id=job))
checkpoint = jobs.get_checkpoint_ids(job_id=job)[0]
jobs.get_checkpoint_details(job_id=job, checkpoint_id=checkpoint, show_subtasks=True)
jobs.get_checkpoints(job_id=job)
jobs.get_checkpointing_configuration(job_id=job)
assert jobs.get_exceptions(job_id=job) is not None
jobs.get_config(job_id=job)
jobs.get_metrics(job_id=job)
jobs.get_plan(job_id=job)
jobs.get_accumulators(job_id=job)
jobs.metrics()
vertices = jobs.get_vertex_ids(job_id=job)
assert len(vertices) >= 2, vertices
for vertex in vertices:
    one = jobs.get_vertex(job_id=job, vertex_id=vertex)
    one.details()
    one.backpressure()
    one.metrics()
    one.subtasktimes()
    one.taskmanagers()
    one.watermarks()
    subtasks = one.subtasks
    subtasks.accumulators()
    subtasks.metrics()
    for index in subtasks.subtask_ids():
        subtasks.get(subtask_id=index)
        subtasks.get_attempt(subtask_id=index)
        subtasks.get_attempt_accumulators(subtask_id=index)
step(f"a job with {len(vertices)} vertices, looked at in every way")
for manager in client.taskmanagers.taskmanager_ids():
    client.taskmanagers.get(taskmanager_id=manager)
    client.taskmanagers.get_logs(taskmanager_id=manager)
    client.taskmanagers.get_metrics(taskmanager_id=manager)
    client.taskmanagers.get_thread_dump(taskmanager_id=manager)
client.taskmanagers.metrics()
client.jobmanager.config()
for log in client.jobmanager.logs():
    client.jobmanager.get_log(log_file=log["name"])
client.jobmanager.metrics()
assert client.jars.all()["files"] == []
step("the cluster, looked at in every way")
trigger = jobs.create_savepoint(job_id=job, target_directory=f"file://{folder}/savepoints")
done = wait("the savepoint", lambda: trigger.status["status"]["id"] == "COMPLETED" and trigger.status)
assert "/savepoint-" in done["operation"]["location"], done
step("a savepoint is made")
trigger = jobs.stop(job_id=job, target_directory=f"file://{folder}/savepoints")
done = wait("the stop", lambda: trigger.status["status"]["id"] == "COMPLETED" and trigger.status)
assert "/savepoint-" in done["operation"]["location"], done
assert jobs.get(job_id=job)["state"] == "FINISHED"
step("the job is stopped with a savepoint")
cursor.execute("SELECT COUNT(*), COUNT(DISTINCT id) FROM lake")
count, distinct = cursor.fetchone()
assert count == distinct > 0, (count, distinct)
cursor.execute("INSERT INTO lake SELECT id, name FROM endless")
job = cursor.fetchone()[0]
jobs.terminate(job_id=job)
wait("the end", lambda: jobs.get(job_id=job)["state"] == "CANCELED")
step("another job is cancelled")
connection.close()
