#!/usr/bin/env bash
# The tutorial, from nothing: four MySQL shard tables become one Iceberg table that follows every change.
#
#   make demo           runs it and cleans up
#   make demo KEEP=1    leaves everything running and prints how to connect
set -euo pipefail
. "$(dirname "$0")/lib/machine.sh"
. "$root/scripts/lib/mysql-server.sh"
cd "$root"

started=$(now)
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
note() { printf '    %s\n' "$*"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/shardlake-demo-XXXXXX")
job_pid=
server_pid=

stop_job() {
    [ -n "$job_pid" ] || return 0
    kill -TERM "$job_pid" 2>/dev/null || true
    wait "$job_pid" 2>/dev/null || true
    job_pid=
}

clean_up() {
    local status=$?
    trap - EXIT INT TERM
    if [ "${kept:-no}" = yes ]; then
        exit "$status"
    fi
    stop_job
    server_stop
    if [ "$status" = 0 ]; then
        rm -rf "$work"
    else
        echo "the demo failed; its files are kept in $work" >&2
        tail -n 20 "$work/job.log" 2>/dev/null >&2 || true
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- 1: programs ----------------------------------------------------------------------------------------------------
say "1  Programs: Shardlake itself, a real MySQL, and two other readers of Iceberg"
need_build_tools
step=$(now)
"$root/scripts/get-readers.sh" > "$work/readers.path" 2> "$work/readers.log" &
readers_pid=$!
server_get
note "MySQL in $(since "$step")"
step=$(now)
if [ -z "${SHARDLAKE_BIN:-}" ]; then
    make --no-print-directory build
fi
note "$("$(binary)" --version) built in $(since "$step")"

# --- 2: the four shards ---------------------------------------------------------------------------------------------
say "2  MySQL with four shard tables in two databases"
step=$(now)
server_start "$work/mysql"
server_sql < "$root/scripts/demo/shards.sql"
server_password=123456
note "$(server_sql -N -e 'SELECT VERSION()') on 127.0.0.1:$server_port, user root, started and filled in $(since "$step")"
note "user_db_1.user_table_1, user_db_1.user_table_2, user_db_2.user_table_1 (it has no email column), user_db_2.user_table_2"

# --- 3: the job -----------------------------------------------------------------------------------------------------
say "3  Three statements start the pipeline (scripts/demo/tutorial.sql, with this MySQL's port and this folder)"
warehouse=$work/warehouse
localise() {
    sed -e "s|'hostname' = 'mysql', 'port' = '3306'|'hostname' = '127.0.0.1', 'port' = '$server_port'|" \
        -e "s|file:///home/iceberg/warehouse|file://$warehouse|" "$1"
}
localise "$root/scripts/demo/tutorial.sql" > "$work/tutorial.sql"
# What a second SQL client needs to know of the lake: the sink's CREATE TABLE, and nothing of the job.
sed -n '/^CREATE TABLE all_users_sink/,/;$/p' "$work/tutorial.sql" > "$work/lake.sql"
sed 's/^/    /' "$work/tutorial.sql"
step=$(now)
"$(binary)" sql -f "$work/tutorial.sql" --state-dir "$work/job" < /dev/null > "$work/job.log" 2>&1 &
job_pid=$!

lake() {
    "$(binary)" sql -D execution.runtime-mode=batch -i "$work/lake.sql" --state-dir "$work/reader" \
        --format "$1" -e "$2" < /dev/null 2> "$work/reader.log"
}

query='SELECT * FROM all_users_sink ORDER BY id'

# await EXPECTED : until the ids and addresses in the lake are the expected ones.
await() {
    local seen deadline=$((SECONDS + 90))
    while :; do
        seen=$(lake json "$query" | python3 "$root/scripts/demo/digest.py" 2>/dev/null || true)
        [ "$seen" = "$1" ] && return
        if ! kill -0 "$job_pid" 2>/dev/null; then
            echo "the job has ended:" >&2
            return 1
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "not visible after 90 s; expected: $1; seen: $seen" >&2
            tail -n 3 "$work/reader.log" >&2
            return 1
        fi
        sleep 0.02
    done
}

show() {
    lake tableau "$query" | grep -v -e '^\[INFO\]' -e '^$' | sed 's/^/    /'
}

await '11100 Shanghai,12100 Shanghai,21100 Shanghai,22100 Shanghai'
note ""
note "The snapshot was in the lake $(since "$step") after the start:"
show

# --- 4: changes -----------------------------------------------------------------------------------------------------
say "4  Three changes in MySQL, each followed into the lake (a checkpoint every 3 s)"
change() {
    note ""
    note "mysql> $1"
    server_sql -e "$1"
    local from
    from=$(now)
    await "$2"
    note "visible in the lake after $(since "$from"):"
    show
}
change "INSERT INTO user_db_1.user_table_1 VALUES (11101,'user_11101','Shanghai','123567891234','user_11101@foo.com');" \
    '11100 Shanghai,11101 Shanghai,12100 Shanghai,21100 Shanghai,22100 Shanghai'
change "UPDATE user_db_1.user_table_2 SET address='Beijing' WHERE id=12100;" \
    '11100 Shanghai,11101 Shanghai,12100 Beijing,21100 Shanghai,22100 Shanghai'
change "DELETE FROM user_db_2.user_table_1 WHERE id=21100;" \
    '11100 Shanghai,11101 Shanghai,12100 Beijing,22100 Shanghai'

# --- 5: others ------------------------------------------------------------------------------------------------------
say "5  The same table, read by programs that know nothing of Shardlake"
table=$warehouse/default_database/all_users_sink
if wait "$readers_pid"; then
    lake json "$query" > "$work/ours.json"
    "$(cat "$work/readers.path")" -B "$root/tests/readers/compare.py" "$table" "$work/ours.json" | sed 's/^/    /'
else
    note "not shown: $(tail -n 1 "$work/readers.log")"
fi

say "Done in $(since "$started")."
if [ -n "${KEEP:-}" ]; then
    kept=yes
    disown -a
    cat <<MESSAGE

Everything is left running.
  SQL client on the lake:  $(binary) sql -D execution.runtime-mode=batch -i $work/lake.sql --state-dir $work/reader
  MySQL:                   mysql --host=127.0.0.1 --port=$server_port --user=root --password=123456
                           or, without a client of your own:
                           scripts/mysql-client.sh $work/mysql 123456
  Iceberg table:           $table
  The job's output:        $work/job.log
Stop all of it:            kill $job_pid $server_pid; rm -r $work
MESSAGE
fi
