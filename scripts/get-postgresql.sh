#!/usr/bin/env bash
# Unpacks the PostgreSQL of this machine's own Debian release into .cache/postgresql and prints that folder.
#
#   scripts/get-postgresql.sh [--check]
#
# Exit status 3: Debian's packages cannot be reached.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib/unpack-debian.sh"
cache=$(cd "$here/.." && pwd)/.cache
target=$cache/postgresql

program() {
    (cd "$target" && ls -d usr/lib/postgresql/*/bin/postgres 2>/dev/null | tail -n 1)
}

works() {
    [ -e "$target/.packages" ] && [ -n "$(program)" ] && run_unpacked "$target" "$(program)" --version >/dev/null 2>&1
}

case "${1:-}" in
    --check)
        if works; then echo "$target"; exit 0; fi
        echo "postgresql: not in $target; run scripts/get-postgresql.sh" >&2
        exit 1 ;;
    "") ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

mkdir -p "$cache"
exec 9> "$cache/postgresql.lock"
flock 9
if ! works; then
    suite=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-stable}")
    unpack_debian postgresql "$suite" "$target" postgresql-15 || exit $?
    if ! works; then
        echo "postgresql: was unpacked into $target but does not run:" >&2
        run_unpacked "$target" "$(program)" --version >&2 || true
        exit 1
    fi
fi
echo "$target"
