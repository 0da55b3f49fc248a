#!/bin/sh
# Throwaway Postgres and Redis on free loopback ports, for tests and for `make up`. Servers that exist are never touched.
#
#   servers.sh up [--only postgres|redis] [--durable] [DIR]   starts what does not run; prints their URLs
#   servers.sh down [--wipe] [DIR]                            ends exactly what `up` started
#   servers.sh status [DIR]                                   says what runs; exit 1 when nothing does
#   servers.sh env [DIR]                                      prints their URLs
#   servers.sh database NAME [DIR]                            makes a database, unless it is there; prints its URL
#   servers.sh run [DIR] -- COMMAND...                        up, COMMAND, then down unless others use them, too
#   servers.sh hold [--only postgres|redis]                   up in a directory of its own, down when its input ends
#
# DIR, by default $CARGO_TARGET_DIR/servers, remembers what runs: the file servers.env, a port each, logs and data. A
# server that was killed comes back by `up` on its port with its data. What is found is used, in this order: PATH,
# /usr/lib/postgresql/*/bin, what apt installs, and containers where docker is there.
#
# --durable: each commit reaches the disk, and `down` keeps the data, but for --wipe. Without it a power cut may lose data,
# but never the kill of a process; `down` removes everything.
set -eu
umask 022
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/servers/process.sh"
. "$here/servers/postgres.sh"
. "$here/servers/redis.sh"
. "$here/servers/compose.sh"

# How long to wait for another `up` or `down` of the same directory, seconds; one that installs takes a minute or two.
LOCK_WAIT=600

usage() {
    sed -n '4,10s/^# *//p' "$0" >&2
    exit 64
}

# Everything below holds the lock, whose file stays: removing it would let two in.
lock() {
    mkdir -p "$dir"
    exec 9>"$dir/lock"
    flock -w "$LOCK_WAIT" 9 || give_up "another one has been at work in $dir for $LOCK_WAIT seconds"
}

up() {
    home
    for server in $wanted; do
        if ! running "$server"; then
            provide "$server"
        fi
    done
    : >"$dir/servers.env.new"
    for server in postgres redis; do
        if running "$server"; then
            echo "SPILLWAY_TEST_$(echo "$server" | tr '[:lower:]' '[:upper:]')=$("url_of_$server")" >>"$dir/servers.env.new"
        fi
    done
    mv "$dir/servers.env.new" "$dir/servers.env"
    cat "$dir/servers.env"
}

# A server of the machine's own, or one that the machine can be given, or a container.
provide() {
    if [ ! -f "$dir/compose" ] && { "find_$1" || install_package "$1"; }; then
        start "$1"
    elif compose_works; then
        compose_up "$1"
    else
        give_up "no $1: install $("package_of_$1") (in PATH), or start docker"
    fi
}

install_package() {
    command -v apt-get >/dev/null || return 1
    package=$("package_of_$1")
    say "installing $package"
    if [ "$(id -u)" = 0 ]; then
        sh "$here/servers/install.sh" "$package" >&2 9>&- || return 1
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n sh "$here/servers/install.sh" "$package" >&2 9>&- || return 1
    else
        say "only root may install it"
        return 1
    fi
    "find_$1" || give_up "$package is installed, but its programs are not found"
}

database() {
    home
    running postgres || give_up "there is no Postgres in $dir"
    if [ "$(sql "select count(*) from pg_database where datname = '$name'")" = 0 ]; then
        sql "create database $name" >/dev/null
    fi
    url=$(url_of_postgres)
    echo "${url%/*}/$name"
}

down() {
    [ ! -f "$dir/compose" ] || compose_down
    [ -f "$dir/home" ] || return 0
    home
    for server in postgres redis; do
        stop "$server"
    done
    rm -f "$dir/servers.env"
    if [ -f "$dir/durable" ] && [ -z "$wipe" ]; then
        return
    fi
    rm -rf "$home"
    rm -f "$dir/home" "$dir/durable" "$dir/postgres.port" "$dir/redis.port"
}

status() {
    found=1
    if [ -f "$dir/home" ]; then
        home
        for server in postgres redis; do
            if running "$server"; then
                found=0
                echo "$server: $("url_of_$server"), log $home/$server.log"
            fi
        done
    fi
    [ "$found" = 0 ] || echo "nothing runs in $dir"
    return "$found"
}

# Servers that were up before stay up. Those that came with this command end with it, unless another one has come to use
# them meanwhile: each holds `users` open and locked, shared.
run() {
    before=0
    status >/dev/null || before=$?
    (lock && up) >/dev/null
    exec 8>"$dir/users"
    flock -s 8
    trap ':' INT TERM
    result=0
    "$@" || result=$?
    trap - INT TERM
    if [ "$before" != 0 ] && flock -n -x 8; then
        (lock && down)
    fi
    exit "$result"
}

# For a test that kills servers. Its end closes the pipe however it comes, so that nothing outlives it.
hold() {
    chmod 755 "$dir"
    (lock && up) || result=$?
    if [ -z "${result:-}" ]; then
        echo "SPILLWAY_TEST_SERVERS=$dir"
        exec >/dev/null
        trap '' INT TERM HUP
        read -r _ || :
    fi
    (lock && down)
    rm -rf "$dir"
    exit "${result:-0}"
}

[ $# -gt 0 ] || usage
command=$1
shift
if [ "$command" = database ]; then
    case ${1:-} in '' | [!a-z]* | *[!a-z0-9_]*) usage ;; esac
    name=$1
    shift
fi
dir='' durable='' wipe='' wanted='postgres redis'
while [ $# -gt 0 ]; do
    case $1 in
    --durable) durable=1 ;;
    --wipe) wipe=1 ;;
    --only)
        [ $# -gt 1 ] || usage
        wanted=$2
        shift
        ;;
    --)
        shift
        break
        ;;
    -*) usage ;;
    *) dir=$1 ;;
    esac
    shift
done
if [ "$command" = hold ]; then
    dir=$(mktemp -d "${TMPDIR:-/tmp}/spillway-servers.XXXXXX")
fi
: "${dir:=${CARGO_TARGET_DIR:-$here/../target}/servers}"
case $wanted in postgres | redis | 'postgres redis') ;; *) usage ;; esac
[ "$command" = run ] || [ $# = 0 ] || usage
command -v flock >/dev/null || give_up "flock is missing: install util-linux"
mkdir -p "$dir"
dir=$(CDPATH='' cd -- "$dir" && pwd)

case $command in
up | down | database) lock && "$command" ;;
status | hold) "$command" ;;
env) cat "$dir/servers.env" ;;
run)
    [ $# -gt 0 ] || usage
    run "$@"
    ;;
*) usage ;;
esac
