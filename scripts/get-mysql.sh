#!/usr/bin/env bash
# Unpacks a real MySQL server and its client programs into .cache/mysql and prints that folder.
#
#   scripts/get-mysql.sh           get it if it is not there yet
#   scripts/get-mysql.sh --check   only say whether it is there and runs (exit status 0 or 1)
#
# Exit status 3: Debian's unstable suite, where MySQL is packaged, cannot be reached; scripts/get-mariadb.sh may do.
# SHARDLAKE_MYSQL_FROM_SUITE names another suite.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib/unpack-debian.sh"
cache=$(cd "$here/.." && pwd)/.cache
target=$cache/mysql

works() {
    [ -e "$target/.packages" ] && run_unpacked "$target" usr/sbin/mysqld --no-defaults --version >/dev/null 2>&1
}

case "${1:-}" in
    --check)
        if works; then echo "$target"; exit 0; fi
        echo "mysql: not in $target; run scripts/get-mysql.sh" >&2
        exit 1 ;;
    "") ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

mkdir -p "$cache"
exec 9> "$cache/mysql.lock"
flock 9
if ! works; then
    unpack_debian mysql "${SHARDLAKE_MYSQL_FROM_SUITE:-sid}" "$target" mysql-server-core mysql-client-core || exit $?
    if ! works; then
        echo "mysql: was unpacked into $target but does not run:" >&2
        run_unpacked "$target" usr/sbin/mysqld --no-defaults --version >&2 || true
        exit 1
    fi
    echo "mysql: $(run_unpacked "$target" usr/sbin/mysqld --no-defaults --version | sed 's/.*Ver/version/')" >&2
fi
echo "$target"
