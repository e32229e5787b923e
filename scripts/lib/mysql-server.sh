# A private MySQL server in a folder of its own, for scripts. Sourced after machine.sh.
# The server's folder is $server_folder; it listens on 127.0.0.1:$server_port; its process is $server_pid.
. "$root/scripts/lib/unpack-debian.sh"

# Gets MySQL. Sets server_package. Status 3 if it cannot be had here: Shardlake refuses MariaDB by name.
server_get() {
    server_package=$("$root/scripts/get-mysql.sh")
}

server_flags() {
    printf '%s\n' --no-defaults --user="$(id -un)" --basedir="$server_package/usr" \
        --datadir="$server_folder/data" --lc-messages-dir="$server_package/usr/share/mysql" \
        --character-sets-dir="$server_package/usr/share/mysql/charsets"
}

server_initialise() {
    local flags share="$server_package/usr/share/mysql"
    mapfile -t flags < <(server_flags)
    run_unpacked "$server_package" usr/sbin/mysqld "${flags[@]}" --initialize-insecure \
        > "$server_folder/initialise.log" 2>&1 ||
        { tail -n 5 "$server_folder/initialise.log" >&2; return 1; }
}

# server_start FOLDER [FLAG...]
server_start() {
    server_folder=$1
    shift
    mkdir -p "$server_folder"
    [ -d "$server_folder/data" ] || server_initialise
    local flags loader triplet
    mapfile -t flags < <(server_flags)
    flags+=(--mysqlx=OFF --gtid-mode=ON --enforce-gtid-consistency=ON)
    server_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    loader=$(unpacked_loader "$server_package")
    triplet=$(basename "$(dirname "$loader")")
    # In the background by its own process number, so that it can be stopped by that number.
    "$loader" --library-path "$server_package/usr/lib/$triplet:$server_package/lib/$triplet" \
        "$server_package/usr/sbin/mysqld" "${flags[@]}" \
        --port="$server_port" --bind-address=127.0.0.1 --socket="$server_folder/socket" \
        --pid-file="$server_folder/pid" --tmpdir="$server_folder" --secure-file-priv= --server-id=1 \
        --log-bin=binlog --binlog-format=ROW --binlog-row-image=FULL --performance-schema=OFF "$@" \
        < /dev/null > "$server_folder/error.log" 2>&1 &
    server_pid=$!
    local attempt
    for attempt in $(seq 300); do
        if server_sql -e 'DO 1' >/dev/null 2>&1; then
            return
        fi
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "the MySQL server does not start:" >&2
    tail -n 5 "$server_folder/error.log" >&2
    return 1
}

# Runs the mysql client as root over the socket: server_sql -e STATEMENTS, or with statements on its input.
server_sql() {
    MYSQL_PWD=${server_password:-} run_unpacked "$server_package" usr/bin/mysql --no-defaults --user=root \
        --socket="$server_folder/socket" --default-character-set=utf8mb4 "$@"
}

server_stop() {
    [ -n "${server_pid:-}" ] || return 0
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}
