#!/usr/bin/env bash
# Measures Shardlake beside its limits, in one run on one MySQL. Results go to bench/results/*.json and to the screen.
#
#   make bench            2,000,000 rows, 1,000,000 updates
#   make bench SHORT=1    a fifth of that
set -euo pipefail
. "$(dirname "$0")/lib/machine.sh"
. "$root/scripts/lib/mysql-server.sh"
cd "$root"

work=$(mktemp -d "${TMPDIR:-/tmp}/shardlake-bench-XXXXXX")
clean_up() {
    local status=$?
    trap - EXIT INT TERM
    server_stop
    if [ "$status" = 0 ]; then rm -rf "$work"; else echo "the benchmark's files are kept in $work" >&2; fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

python=$("$root/scripts/get-readers.sh")
BENCH_PEERS=$("$root/scripts/get-peers.sh") || BENCH_PEERS=
export BENCH_PEERS
server_get
server_start "$work/mysql" --sync-binlog=0 --innodb-flush-log-at-trx-commit=2 --innodb-buffer-pool-size=2G \
    --innodb-redo-log-capacity=1G --skip-innodb-doublewrite --max-binlog-size=1G
server_sql -e "CREATE DATABASE bench"
triplet=$(basename "$(dirname "$(unpacked_loader "$server_package")")")
export BENCH_LOADER="$(unpacked_loader "$server_package")"
export BENCH_LIBRARIES="$server_package/usr/lib/$triplet:$server_package/lib/$triplet"
export BENCH_PACKAGE=$server_package BENCH_SOCKET=$server_folder/socket BENCH_PORT=$server_port BENCH_PID=$server_pid
export BENCH_BINARY="$(binary)" BENCH_DRAIN="$(target_folder)/release/drain" BENCH_WORK=$work
mkdir -p "$root/bench/results"
"$python" -B "$root/bench/bench.py" "$root/bench/results" "$@"
