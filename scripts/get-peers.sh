#!/usr/bin/env bash
# Gets the peers that benchmarks compare with, from PyPI into .cache/peers, and prints that folder.
#
# Exit status 3: they cannot be had; the benchmarks then print a dash for them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/.." && pwd)/.cache
# DuckDB itself is among the readers; its extension must be of the same version.
packages=(duckdb-extension-mysql==1.5.5 connectorx==0.4.6)
stamp="${packages[*]}"

mkdir -p "$cache"
exec 9> "$cache/peers.lock"
flock 9
if [ "$(cat "$cache/peers/.complete" 2>/dev/null)" != "$stamp" ]; then
    python=$("$here/get-readers.sh") || exit 3
    rm -rf "$cache/peers"
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$cache/peers" "${packages[@]}" >&2 ||
        { echo "peers: the Python packages cannot be installed" >&2; exit 3; }
    echo "$stamp" > "$cache/peers/.complete"
fi
echo "$cache/peers"
