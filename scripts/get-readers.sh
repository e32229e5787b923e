#!/usr/bin/env bash
# Makes .cache/venv with the Iceberg readers that check our tables, and prints its Python.
#
#   scripts/get-readers.sh           get them if they are not there yet
#   scripts/get-readers.sh --check   only say whether they are there (exit status 0 or 1)
#
# DuckDB and its extensions must be of one version; later DuckDB versions have no matching Avro extension as a package.
# Exit status 3: Python or the packages cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/.." && pwd)/.cache
venv=$cache/venv
packages=(duckdb==1.5.5 duckdb-extension-iceberg==1.5.5 duckdb-extension-avro==1.5.5 pytz
          'pyiceberg[pyarrow,sql-sqlite]==0.12.*')
stamp="${packages[*]}"

works() {
    [ "$(cat "$venv/.complete" 2>/dev/null)" = "$stamp" ] && "$venv/bin/python" -c 'import duckdb, pyiceberg' 2>/dev/null
}

case "${1:-}" in
    --check)
        if works; then echo "$venv/bin/python"; exit 0; fi
        echo "readers: not in $venv; run scripts/get-readers.sh" >&2
        exit 1 ;;
    "") ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

mkdir -p "$cache"
exec 9> "$cache/venv.lock"
flock 9
if ! works; then
    rm -rf "$venv"
    python=$(command -v python3) || { echo "readers: this machine has no python3" >&2; exit 3; }
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        # Debian's own Python leaves out what makes environments.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            (apt-get -qq update && apt-get -qq -y install python3-venv) >/dev/null 2>&1 || true
        fi
        rm -rf "$venv"
        "$python" -m venv "$venv" || { echo "readers: python3 cannot make an environment (python3-venv)" >&2; exit 3; }
    fi
    echo "readers: installing ${packages[*]}" >&2
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" >&2; then
        echo "readers: the Python packages cannot be installed" >&2
        exit 3
    fi
    echo "$stamp" > "$venv/.complete"
    works || { echo "readers: were installed into $venv but do not import" >&2; exit 1; }
fi
echo "$venv/bin/python"
