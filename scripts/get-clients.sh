#!/usr/bin/env bash
# Makes .cache/clients with other people's clients of Flink's servers, unmodified, and prints its Python.
#
#   scripts/get-clients.sh           get them if they are not there yet
#   scripts/get-clients.sh --check   only say whether they are there (exit status 0 or 1)
#
# Exit status 3: Python or the packages cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/.." && pwd)/.cache
venv=$cache/clients
packages=(py-flink-sql-gateway==0.1.6 flink-rest-client==1.0.8)
stamp="${packages[*]}"

works() {
    [ "$(cat "$venv/.complete" 2>/dev/null)" = "$stamp" ] && "$venv/bin/python" -c 'import flink_rest_client' 2>/dev/null
}

case "${1:-}" in
    --check)
        if works; then echo "$venv/bin/python"; exit 0; fi
        echo "clients: not in $venv; run scripts/get-clients.sh" >&2
        exit 1 ;;
    "") ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

mkdir -p "$cache"
exec 9> "$cache/clients.lock"
flock 9
if ! works; then
    rm -rf "$venv"
    python=$(command -v python3) || { echo "clients: this machine has no python3" >&2; exit 3; }
    "$python" -m venv "$venv" || { echo "clients: python3 cannot make an environment (python3-venv)" >&2; exit 3; }
    echo "clients: installing ${packages[*]}" >&2
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" >&2; then
        echo "clients: the Python packages cannot be installed" >&2
        exit 3
    fi
    echo "$stamp" > "$venv/.complete"
    works || { echo "clients: were installed into $venv but do not import" >&2; exit 1; }
fi
echo "$venv/bin/python"
