# For servers.sh: Postgres. The role is `spillway`, without a password: only this machine reaches it.

# Older ones lack what the migrations use.
POSTGRES_MAJOR_MIN=14
# Forty processes of a test run with a few connections each, and room.
POSTGRES_CONNECTIONS=400
# How long a start may take, seconds; one after a crash replays its log.
POSTGRES_START=60

package_of_postgres() {
    echo postgresql
}

url_of_postgres() {
    echo "postgres://spillway@127.0.0.1:$(cat "$dir/postgres.port")/postgres"
}

# Sets $postgres_bin.
find_postgres() {
    for postgres_bin in "$(on_path initdb)" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
        if [ -x "$postgres_bin/initdb" ] && [ -x "$postgres_bin/pg_ctl" ] && [ -x "$postgres_bin/psql" ]; then
            major=$("$postgres_bin/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
            if [ "$major" -ge "$POSTGRES_MAJOR_MIN" ]; then
                return
            fi
        fi
    done
    return 1
}

# Runs a statement as the owner of everything.
sql() {
    if [ -f "$dir/compose" ]; then
        compose exec -T postgres psql -U spillway -X -q -A -t -c "$1" postgres </dev/null
    else
        find_postgres
        "$postgres_bin/psql" -X -q -A -t -c "$1" "$(url_of_postgres)" </dev/null
    fi
}

# The directory of a program, also where PATH holds a link to it: Postgres looks for its parts beside itself.
on_path() {
    program=$(command -v "$1") || return 0
    dirname -- "$(readlink -f -- "$program")"
}

pid_of_postgres() {
    pid=$(head -n 1 "$home/postgres/postmaster.pid" 2>/dev/null) || return 1
    is_process "$pid" "-D $home/postgres" && echo "$pid"
}

start_postgres() {
    [ -d "$home/postgres" ] || create_postgres
    new_log postgres
    as_user "$postgres_bin/pg_ctl" start --wait --timeout "$POSTGRES_START" --silent --pgdata "$home/postgres" \
        --log "$home/postgres.log" --options "-p $1" >/dev/null 2>&1
}

# Made beside its place and moved there, so that an interrupted one is never taken for a database.
create_postgres() {
    rm -rf "$home/postgres.new"
    as_user "$postgres_bin/initdb" --pgdata "$home/postgres.new" --username spillway --auth trust --encoding UTF8 \
        --locale C --no-sync >"$home/initdb.log" 2>&1 || {
        cat "$home/initdb.log" >&2
        give_up "initdb failed"
    }
    cat >>"$home/postgres.new/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = $POSTGRES_CONNECTIONS
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %d '
log_checkpoints = off
END
    if [ ! -f "$dir/durable" ]; then
        # What the kernel has taken survives every kill, and nobody needs this data after a power cut.
        cat >>"$home/postgres.new/postgresql.conf" <<END
fsync = off
full_page_writes = off
END
    fi
    mv "$home/postgres.new" "$home/postgres"
}

# SIGINT ends sessions in good order; SIGQUIT at once, without a last checkpoint that nobody will read.
end_postgres() {
    if [ -f "$dir/durable" ]; then
        echo INT
    else
        echo QUIT
    fi
}
