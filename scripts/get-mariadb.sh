#!/usr/bin/env bash
# Unpacks the MariaDB of this machine's own Debian release into .cache/mariadb and prints that folder.
# It stands in for MySQL where scripts/get-mysql.sh finds none.
#
#   scripts/get-mariadb.sh [--check]
#
# Exit status 3: Debian's packages cannot be reached.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib/unpack-debian.sh"
cache=$(cd "$here/.." && pwd)/.cache
target=$cache/mariadb

works() {
    [ -e "$target/.packages" ] && run_unpacked "$target" usr/sbin/mariadbd --no-defaults --version >/dev/null 2>&1
}

case "${1:-}" in
    --check)
        if works; then echo "$target"; exit 0; fi
        echo "mariadb: not in $target; run scripts/get-mariadb.sh" >&2
        exit 1 ;;
    "") ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

mkdir -p "$cache"
exec 9> "$cache/mariadb.lock"
flock 9
if ! works; then
    suite=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-stable}")
    unpack_debian mariadb "$suite" "$target" mariadb-server-core mariadb-client-core || exit $?
    if ! works; then
        echo "mariadb: was unpacked into $target but does not run:" >&2
        run_unpacked "$target" usr/sbin/mariadbd --no-defaults --version >&2 || true
        exit 1
    fi
fi
echo "$target"
