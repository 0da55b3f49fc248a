#!/bin/sh
# Starts the platform distributed on this machine: Postgres and Redis of its own (deploy/servers.sh), and REPLICAS of each
# service as processes, on free loopback ports. What runs already is left alone. Usage: up.sh BINARIES
#
# Everything is in data/up, or in $SPILLWAY_UP: platform.toml for the `spillway` command, a file for each service, logs,
# and `processes`, by which down.sh ends exactly these. Data stays for the next time.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/common.sh"
binaries=$(CDPATH='' cd -- "$1" && pwd)

# The first replicas of the services listen here and at the four ports behind, for callers, and for operators and
# scrapers; the others in steps of ten above. What is taken already is left out.
CALLERS_FIRST=7400
OPERATORS_FIRST=7490
PORT_STEP=10
# How long a process may take until it serves, tenths of a second.
START_TENTHS=600

# Ports are chosen before anything starts, since each process is told of all the others.
choose_ports() {
    : >"$up/ports.new"
    number=0
    for service in $SERVICES; do
        replica=1
        while [ "$replica" -le "$REPLICAS" ]; do
            callers=$(port_near $((CALLERS_FIRST + PORT_STEP * (replica - 1) + number)))
            operators=$(port_near $((OPERATORS_FIRST + PORT_STEP * (replica - 1) + number)))
            echo "$service $replica $callers $operators" >>"$up/ports.new"
            replica=$((replica + 1))
        done
        number=$((number + 1))
    done
    mv "$up/ports.new" "$up/ports"
}

port_near() {
    if is_free "$1"; then
        echo "$1"
    else
        free_port
    fi
}

# Addresses of all replicas of $1, as clients balance among them.
peers_of() {
    awk -v service="$1" '$1 == service { printf "%shttp://127.0.0.1:%s", comma, $3; comma = "," }' "$up/ports"
}

write_settings() {
    {
        echo "# Written by \`make up\`; \`spillway --config\` reads it."
        echo
        echo "[data]"
        echo "dir = \"$up\""
        echo
        echo "[data.redis]"
        echo "url = \"$SPILLWAY_TEST_REDIS\""
    } >"$up/shared.toml"
    cp "$up/shared.toml" "$up/platform.toml"
    {
        echo
        echo "[peers]"
        for service in $SERVICES; do
            echo "$service = \"$(peers_of "$service")\""
        done
        echo "admin = \"$(awk '{ printf "%shttp://127.0.0.1:%s", comma, $4; comma = "," }' "$up/ports")\""
    } >>"$up/platform.toml"
    for service in $SERVICES; do
        own_settings "$service" >"$up/own.toml"
        cat "$up/own.toml" >>"$up/platform.toml"
        cat "$up/shared.toml" "$up/own.toml" >"$up/$service.toml"
    done
    rm "$up/shared.toml" "$up/own.toml"
}

own_settings() {
    echo
    echo "[$1]"
    echo "database = \"$(sh "$here/../servers.sh" database "spillway_$1" "$up/servers")\""
    if [ "$1" = orchestrator ]; then
        echo
        echo "[orchestrator.peers]"
        for peer in $SERVICES; do
            [ "$peer" = orchestrator ] || echo "$peer = \"$(peers_of "$peer")\""
        done
    fi
}

migrate() {
    for service in $SERVICES; do
        SPILLWAY_CONFIG=$up/$service.toml "$binaries/$service" --migrate >"$up/$service-migrate.log" 2>&1 || {
            cat "$up/$service-migrate.log" >&2
            give_up "$service: its database cannot be brought up to date"
        }
    done
}

# A session of its own, so that a Ctrl-C in this terminal is not for it.
start_process() {
    log=$up/$1-$2.log
    name=$(echo "$1" | tr '[:lower:]' '[:upper:]')
    env "SPILLWAY_CONFIG=$up/$1.toml" "SPILLWAY__${name}__LISTEN=127.0.0.1:$3" "SPILLWAY__ADMIN__LISTEN=127.0.0.1:$4" \
        setsid "$binaries/$1" >"$log" 2>&1 </dev/null 9>&- &
    echo "$1 $2 $! $3 $binaries/$1" >>"$up/processes"
}

wait_until_serving() {
    while read -r service replica pid port _; do
        tenths=0
        until grep -q ": serving services=.*spillway\.$service\." "$up/$service-$replica.log"; do
            tenths=$((tenths + 1))
            if ! kill -0 "$pid" 2>/dev/null || [ "$tenths" = "$START_TENTHS" ]; then
                tail -n 20 "$up/$service-$replica.log" >&2
                give_up "$service did not come up on port $port; its log is $up/$service-$replica.log"
            fi
            sleep 0.1
        done
    done <"$up/processes"
}

say_what_there_is() {
    echo "The platform is up, $REPLICAS of each service; logs and settings are in $up"
    for service in $SERVICES; do
        printf '  %-13s %s\n' "$service" "$(peers_of "$service")"
    done
    printf '  %-13s %s\n' metrics "$(awk '{ printf "%shttp://127.0.0.1:%s/metrics", comma, $4; comma = " " }' "$up/ports")"
    echo "Try:    $binaries/spillway --config $up/platform.toml stock create APPLE --title Apple --price 1.20EUR --on-hand 10"
    echo "        make demo MODE=distributed"
    echo "End it: make down"
}

mkdir -p "$up"
exec 9>"$up/lock"
flock -n 9 || give_up "another make up or make down is at work in $up"
if [ "$(alive | wc -l)" -gt 0 ]; then
    if [ "$(alive | wc -l)" = "$(wc -l <"$up/processes")" ]; then
        say_what_there_is
        exit
    fi
    give_up "some processes of the last time still run, others have ended: make down, then again"
fi
# Half a platform helps nobody.
trap 'sh "$here/down.sh"' EXIT
trap 'exit 1' INT TERM
sh "$here/../servers.sh" up --durable "$up/servers" >"$up/servers.env" 9>&-
. "$up/servers.env"
choose_ports
write_settings
migrate
: >"$up/processes"
# Those that call the others come last.
{ grep -v '^orchestrator ' "$up/ports"; grep '^orchestrator ' "$up/ports"; } >"$up/order-of-start"
while read -r service replica callers operators; do
    start_process "$service" "$replica" "$callers" "$operators"
done <"$up/order-of-start"
wait_until_serving
trap - EXIT
say_what_there_is
