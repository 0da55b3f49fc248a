# For servers.sh and local/*.sh: processes, ports and the place of data. Uses $dir and $durable of servers.sh.

# Ports below those that systems lend to outgoing connections, so that a killed server finds its own free again.
PORT_FIRST=20000
PORT_COUNT=12000
# Starts tried: most fail for a port that is taken, some because the kernel has not buried the killed predecessor yet.
START_TRIES=20
# How long a server may take to end, in tenths of a second, before it is killed.
STOP_TENTHS=300

say() {
    echo "${0##*/}: $1" >&2
}

give_up() {
    say "$1"
    exit 1
}

# Sets $home, where data and logs are, and $user, who runs the servers: Postgres refuses to run as root.
home() {
    user=
    if [ "$(id -u)" = 0 ]; then
        user=nobody
        if id postgres >/dev/null 2>&1; then
            user=postgres
        fi
    fi
    if [ -f "$dir/home" ]; then
        home=$(cat "$dir/home")
        if [ -d "$home" ]; then
            return
        fi
        # Somebody has tidied up: what ran there is beyond us, and its data is gone.
        rm -f "$dir/home" "$dir/postgres.port" "$dir/redis.port"
    fi
    new_home "$dir/data" || new_home "$(mktemp -d "${TMPDIR:-/tmp}/spillway-servers.XXXXXX")" ||
        new_home "$(mktemp -d /tmp/spillway-servers.XXXXXX)" || give_up "no directory that $user can write to"
    echo "$home" >"$dir/home"
    if [ -n "$durable" ]; then
        : >"$dir/durable"
    fi
}

# A directory in which the servers' user can work, which the directories above it may forbid.
new_home() {
    home=$1
    mkdir -p "$home"
    if [ -n "$user" ]; then
        chown "$user" "$home"
    fi
    if as_user sh -c 'cd "$1" && : >probe && rm probe' - "$home" 2>/dev/null; then
        return
    fi
    rm -rf "$home"
    return 1
}

# Runs a command as the servers' user, without our locks and in a directory that it may enter.
as_user() {
    (
        cd /
        if [ -z "$user" ]; then
            exec "$@" </dev/null 8>&- 9>&-
        fi
        exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups \
            env HOME=/nonexistent "$@" </dev/null 8>&- 9>&-
    )
}

running() {
    if [ -f "$dir/compose" ]; then
        [ -f "$dir/$1.port" ]
    else
        "pid_of_$1" >/dev/null
    fi
}

# True when process $1 is there and its command line holds $2: a number alone may be somebody else's by now.
is_process() {
    [ -r "/proc/$1/cmdline" ] && tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF -- "$2"
}

# Starts a server on the port it had, or else on any that is free.
start() {
    tries=0
    [ -s "$dir/$1.port" ] || new_port "$1"
    until "start_$1" "$(cat "$dir/$1.port")"; do
        tries=$((tries + 1))
        if [ "$tries" = "$START_TRIES" ]; then
            tail -n 20 "$home/$1.log" >&2
            give_up "$1 does not start; its log is $home/$1.log"
        elif grep -q 'Address already in use' "$home/$1.log"; then
            new_port "$1"
        else
            sleep 0.3
        fi
    done
}

new_port() {
    free_port >"$dir/$1.port"
}

free_port() {
    port=$((PORT_FIRST + $(od -An -N2 -tu2 /dev/urandom) % PORT_COUNT))
    until is_free "$port"; do
        port=$((port + 1))
    done
    echo "$port"
}

# True when no socket of this machine is at port $1. Whoever takes it a moment later still finds it taken.
is_free() {
    ! cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '{ print $2 }' | grep -q ":$(printf %04X "$1")$"
}

# Keeps the log of the run before, too.
new_log() {
    if [ -f "$home/$1.log" ]; then
        mv "$home/$1.log" "$home/$1.log.1"
    fi
}

# Asks a server to end, then sees to it. A test may have frozen it.
stop() {
    pid=$("pid_of_$1") || return 0
    children=$(children_of "$pid")
    kill -CONT $pid $children 2>/dev/null || :
    kill "-$("end_$1")" "$pid" 2>/dev/null || :
    tenths=0
    while [ -d "/proc/$pid" ] && "pid_of_$1" >/dev/null; do
        tenths=$((tenths + 1))
        if [ "$tenths" = "$STOP_TENTHS" ]; then
            say "$1 (process $pid) does not end, and is killed"
            kill -KILL $pid $children 2>/dev/null || :
        fi
        sleep 0.1
    done
}

children_of() {
    awk -v parent="$1" '{ sub(/^.*\) /, ""); if ($2 == parent) { split(FILENAME, path, "/"); print path[3] } }' \
        /proc/[0-9]*/stat 2>/dev/null || :
}
