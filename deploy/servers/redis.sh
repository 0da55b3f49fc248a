# For servers.sh: Redis, or its twin Valkey.

# Older ones lack XAUTOCLAIM.
REDIS_VERSION_MIN=602
# How long a start may take, tenths of a second; one with a file to load takes a moment.
REDIS_START_TENTHS=300

package_of_redis() {
    echo redis-server
}

url_of_redis() {
    echo "redis://127.0.0.1:$(cat "$dir/redis.port")"
}

# Sets $redis_server.
find_redis() {
    for name in redis-server valkey-server; do
        if redis_server=$(command -v "$name"); then
            version=$("$redis_server" --version | sed 's/.* v=\([0-9]*\)\.\([0-9]*\).*/\1 \2/' | awk '{ print $1 * 100 + $2 }')
            if [ "$version" -ge "$REDIS_VERSION_MIN" ]; then
                return
            fi
        fi
    done
    return 1
}

# It puts its address in place of its arguments.
pid_of_redis() {
    pid=$(cat "$home/redis.pid" 2>/dev/null) || return 1
    is_process "$pid" "127.0.0.1:$(cat "$dir/redis.port")" && echo "$pid"
}

start_redis() {
    as_user mkdir -p "$home/redis"
    cat >"$home/redis.conf" <<END
bind 127.0.0.1
daemonize yes
pidfile "$home/redis.pid"
logfile "$home/redis.log"
dir "$home/redis"
save ""
appendonly $(if [ -f "$dir/durable" ]; then echo yes; else echo no; fi)
repl-diskless-sync-delay 0
END
    new_log redis
    as_user "$redis_server" "$home/redis.conf" --port "$1" >/dev/null || return 1
    tenths=0
    until grep -q 'Ready to accept connections' "$home/redis.log" 2>/dev/null; do
        tenths=$((tenths + 1))
        if [ "$tenths" = "$REDIS_START_TENTHS" ] || grep -q 'Address already in use' "$home/redis.log" 2>/dev/null; then
            return 1
        fi
        sleep 0.1
    done
}

# It writes what it has to write, and ends.
end_redis() {
    echo TERM
}
