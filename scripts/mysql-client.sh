#!/usr/bin/env bash
# Connects the unpacked mysql client to a server that one of our scripts started.
#
#   scripts/mysql-client.sh SERVER_FOLDER [PASSWORD] [CLIENT_ARGUMENT...]
set -euo pipefail
. "$(dirname "$0")/lib/machine.sh"
. "$root/scripts/lib/mysql-server.sh"
[ $# -ge 1 ] || { sed -n 's/^#   //p' "$0" >&2; exit 2; }
server_get
server_folder=$1
server_password=${2:-}
shift $(($# > 1 ? 2 : 1))
server_sql "$@"
