# For servers.sh: the same servers in containers, where the machine has none and may not be given any. A test that kills
# or freezes servers needs processes of its own, and says so.

compose_works() {
    command -v docker >/dev/null && docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1
}

# The project's name holds a sum of the directory, so that two of them never share containers.
compose() {
    project=spillway-servers-$(printf '%s' "$dir" | cksum | cut -d ' ' -f 1)
    if [ -f "$dir/durable" ]; then
        SPILLWAY_FSYNC=on SPILLWAY_APPENDONLY=yes docker compose -p "$project" -f "$here/compose.servers.yaml" "$@"
    else
        docker compose -p "$project" -f "$here/compose.servers.yaml" "$@"
    fi
}

compose_up() {
    : >"$dir/compose"
    case $1 in
    postgres) inside=5432 ;;
    redis) inside=6379 ;;
    esac
    compose up --detach --wait "$1" >&2 9>&- || give_up "docker compose did not start $1"
    compose port "$1" "$inside" | sed 's/^.*://' >"$dir/$1.port"
}

compose_down() {
    if [ -f "$dir/durable" ] && [ -z "$wipe" ]; then
        compose down >&2 9>&-
    else
        compose down --volumes >&2 9>&-
    fi
    rm -f "$dir/compose" "$dir/postgres.port" "$dir/redis.port"
}
