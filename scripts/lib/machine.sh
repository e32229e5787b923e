# What every script of ours needs to know of the machine. Sourced.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# The folder of release builds, wherever cargo was told to put it.
target_folder() {
    local folder=${CARGO_TARGET_DIR:-$root/target}
    case "$folder" in /*) ;; *) folder=$root/$folder ;; esac
    echo "$folder"
}

binary() {
    echo "${SHARDLAKE_BIN:-$(target_folder)/release/shardlake}"
}

# Installs what a build needs and a bare Debian machine lacks: a C compiler for zstd and TLS.
need_build_tools() {
    if ! command -v cargo >/dev/null; then
        echo "cargo is missing: install Rust (the version in Cargo.toml or later) with rustup" >&2
        exit 1
    fi
    if command -v cc >/dev/null; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing a C compiler" >&2
        { apt-get -qq update && apt-get -qq -y install gcc libc6-dev; } >/dev/null 2>&1 || true
    fi
    command -v cc >/dev/null || { echo "a C compiler is missing: install gcc" >&2; exit 1; }
}

# Seconds since the epoch with a fraction, and the difference to now with one digit.
now() {
    date +%s.%N
}

since() {
    awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f s", to - from }'
}
