"""The processes of the benchmark: MySQL's tools, the drain, and Shardlake itself, each with what it cost."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

PACKAGE = os.environ["BENCH_PACKAGE"]
PORT = os.environ["BENCH_PORT"]
SERVER_PID = int(os.environ["BENCH_PID"])
BINARY = os.environ["BENCH_BINARY"]
WORK = os.environ["BENCH_WORK"]
WAREHOUSE = os.path.join(WORK, "warehouse")


def tool(program):
    return [os.environ["BENCH_LOADER"], "--library-path", os.environ["BENCH_LIBRARIES"],
            os.path.join(PACKAGE, "usr/bin", program)]


def mysql(statements, delimiter=False):
    """Runs statements as root; returns their rows, tab separated."""
    command = tool("mysql") + ["--no-defaults", "--user=root", f"--socket={os.environ['BENCH_SOCKET']}",
                               "--database=bench", "--batch", "--skip-column-names", "--default-character-set=utf8mb4"]
    if delimiter:
        statements = f"DELIMITER //\n{statements}//\n"
    done = subprocess.run(command, input=statements, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"mysql: {done.stderr.strip()}")
    return done.stdout.strip()


def drain(*arguments):
    """Frames packets and throws them away."""
    what, *rest = arguments
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([os.environ["BENCH_DRAIN"], what, PORT, *rest], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout) | {"cpu_seconds": cpu}


def binlog_files():
    return [line.split()[0] for line in mysql("SHOW BINARY LOGS").splitlines()]


def binlog_size(name):
    return next(int(line.split()[1]) for line in mysql("SHOW BINARY LOGS").splitlines() if line.split()[0] == name)


def mysqlbinlog_raw(files):
    """How long MySQL's own tool takes to copy binlog files from the server."""
    target = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=target) as folder:
        started = time.monotonic()
        subprocess.run(tool("mysqlbinlog") + ["--no-defaults", "--raw", "--read-from-remote-server", "--user=root",
                                              "--host=127.0.0.1", f"--port={PORT}", f"--result-file={folder}/", *files],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.monotonic() - started


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server_cpu():
    return cpu_seconds(SERVER_PID)


@dataclass
class Run:
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_measured(command, name, text=None):
    """Runs a program to its end; with a text, as the script that `-f -` stands for."""
    state = os.path.join(WORK, "state", name)
    log = os.path.join(WORK, f"{name}.log")
    if text is not None:
        path = os.path.join(WORK, f"{name}.sql")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        command = [path if word == "-" else word for word in command]
    if "sql" in command:
        command = command + ["--state-dir", state]
    with open(log, "ab") as output:
        started = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        with open(log, encoding="utf-8", errors="replace") as file:
            sys.exit(f"{name}: exit status {child.returncode}\n{file.read()[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


class Job:
    """A streaming job in a process of its own."""

    def __init__(self, name, text):
        self.name = name
        self.log = os.path.join(WORK, f"{name}.log")
        path = os.path.join(WORK, f"{name}.sql")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.started = time.monotonic()
        with open(self.log, "ab") as output:
            self.child = subprocess.Popen(
                [BINARY, "sql", "--state-dir", os.path.join(WORK, "state", name), "-f", path],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.pid = self.child.pid

    def wait_for(self, question, patience, pause=0.1):
        """Seconds until the answer is yes."""
        started = time.monotonic()
        while not question():
            if self.child.poll() is not None or time.monotonic() - started > patience:
                with open(self.log, encoding="utf-8", errors="replace") as file:
                    log = file.read()[-3000:]
                self.child.kill()
                sys.exit(f"{self.name}: ended or took more than {patience} s\n{log}")
            time.sleep(pause)
        return time.monotonic() - started

    def peak_bytes(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        if self.child.wait(60) != 0:
            sys.exit(f"{self.name}: exit status {self.child.returncode}")


def source_table(name, columns, mysql_table, extra):
    return (f"CREATE TABLE {name} ({columns}) WITH ('connector' = 'mysql-cdc', 'hostname' = '127.0.0.1', "
            f"'port' = '{PORT}', 'username' = 'root', 'password' = '', 'database-name' = 'bench', "
            f"'table-name' = '{mysql_table}'{extra});\n")


def lake_table(name, columns):
    return (f"CREATE TABLE `{name}` ({columns}) WITH ('connector' = 'iceberg', 'catalog-name' = 'bench', "
            f"'catalog-type' = 'hadoop', 'warehouse' = 'file://{WAREHOUSE}', 'format-version' = '2');\n")
