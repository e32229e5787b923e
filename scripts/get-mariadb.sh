#!/usr/bin/env bash
# Unpacks a MariaDB server into a folder of .cache and prints that folder.
#
#   scripts/get-mariadb.sh [--check]       MariaDB 10.11, of Debian bookworm, in .cache/mariadb
#   scripts/get-mariadb.sh 11 [--check]    MariaDB 11.8, of Debian trixie, in .cache/mariadb-11
#
# --check only says whether it is there and runs (exit status 0 or 1).
# Exit status 3: Debian's packages cannot be reached.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib/unpack-debian.sh"
cache=$(cd "$here/.." && pwd)/.cache
name=mariadb
suite=bookworm
if [ "${1:-}" = 11 ]; then
    name=mariadb-11
    suite=trixie
    shift
fi
target=$cache/$name

works() {
    [ -e "$target/.packages" ] && run_unpacked "$target" usr/sbin/mariadbd --no-defaults --version >/dev/null 2>&1
}

case "${1:-}" in
    --check)
        if works; then echo "$target"; exit 0; fi
        echo "$name: not in $target; run scripts/get-mariadb.sh" >&2
        exit 1 ;;
    "") ;;
    *) echo "usage: $0 [11] [--check]" >&2; exit 2 ;;
esac

mkdir -p "$cache"
exec 9> "$cache/$name.lock"
flock 9
if ! works; then
    unpack_debian "$name" "$suite" "$target" mariadb-server-core mariadb-client-core || exit $?
    if ! works; then
        echo "$name: was unpacked into $target but does not run:" >&2
        run_unpacked "$target" usr/sbin/mariadbd --no-defaults --version >&2 || true
        exit 1
    fi
fi
echo "$target"
