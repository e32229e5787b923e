#!/usr/bin/env bash
# Runs every test and ends with one line of the form that cargo prints for each test program, summed up.
#
#   scripts/test.sh [ARGUMENT OF CARGO TEST...]
#
# Tests that need MySQL, DuckDB or pyiceberg get them through the get-*.sh scripts; where that is not possible they say
# SKIPPED and why. SHARDLAKE_REQUIRE_SERVERS=1 makes such tests fail instead.
set -uo pipefail
. "$(dirname "$0")/lib/machine.sh"
cd "$root"
need_build_tools

# While cargo compiles, the servers and readers are fetched; a failure shows up as skipped tests, with its reason.
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
"$root/scripts/get-mysql.sh" > /dev/null 2> "$logs/mysql" &
"$root/scripts/get-readers.sh" > /dev/null 2> "$logs/readers" &

started=$SECONDS
# The end-to-end tests drive the binary, which cargo does not build for the tests of another package.
cargo build --release --workspace --bins || exit 1
cargo test --release --workspace --no-run || exit 1
wait
export SHARDLAKE_BIN=${SHARDLAKE_BIN:-$(binary)}
if [ ! -x "$SHARDLAKE_BIN" ]; then
    echo "the binary was not built: $SHARDLAKE_BIN" >&2
    exit 1
fi
cargo test --release --workspace --no-fail-fast "$@" 2>&1 | tee "$logs/output"
status=${PIPESTATUS[0]}

awk -v status="$status" -v seconds="$((SECONDS - started))" '
    /^test result:/ {
        for (i = 1; i <= NF; i++) {
            if ($i ~ /^passed/) passed += $(i - 1)
            if ($i ~ /^failed/) failed += $(i - 1)
            if ($i ~ /^ignored/) ignored += $(i - 1)
            if ($i ~ /^filtered/) filtered += $(i - 1)
        }
    }
    /^SKIPPED / || / SKIPPED / { skipped[++skips] = $0 }
    END {
        print ""
        for (i = 1; i <= skips; i++) print skipped[i]
        verdict = (status == 0) ? "ok" : "FAILED"
        printf "\ntest result: %s. %d passed; %d failed; %d ignored; 0 measured; %d filtered out; finished in %.2fs\n",
            verdict, passed, failed, ignored, filtered, seconds
    }' "$logs/output"
exit "$status"
