#!/usr/bin/env bash
# Measures the decoder of rows and row events beside its limits, in one run on one MySQL.
#
#   make bench-decode
set -euo pipefail
. "$(dirname "$0")/lib/machine.sh"
. "$root/scripts/lib/mysql-server.sh"
cd "$root"

work=$(mktemp -d "${TMPDIR:-/tmp}/shardlake-decode-XXXXXX")
clean_up() {
    local status=$?
    trap - EXIT INT TERM
    server_stop
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

server_get
server_start "$work/mysql" --sync-binlog=0 --innodb-flush-log-at-trx-commit=2 --innodb-buffer-pool-size=1G \
    --innodb-redo-log-capacity=512M --skip-innodb-doublewrite --max-binlog-size=1G
"$(target_folder)/release/decode" "$server_port"
