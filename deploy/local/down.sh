#!/bin/sh
# Ends what up.sh started, and nothing else: first who starts work, then who does it, then the servers. Data stays, but
# for --wipe.
#
# shellcheck disable=SC2086,SC2116  # lists of process ids are words
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/common.sh"

# How long a process may take to end, tenths of a second: it finishes what it has begun (server.drain_ms), and tidies up.
END_TENTHS=300

# Asks the processes of the services $@ to end, and sees to it.
end() {
    pids=$(alive "$@")
    [ -n "$pids" ] || return 0
    # A frozen one would not hear of it.
    kill -CONT $pids 2>/dev/null || :
    kill -TERM $pids 2>/dev/null || :
    tenths=0
    while left=$(alive "$@") && [ -n "$left" ]; do
        tenths=$((tenths + 1))
        if [ "$tenths" = "$END_TENTHS" ]; then
            say "processes $(echo $left) do not end, and are killed"
            kill -KILL $left 2>/dev/null || :
        fi
        sleep 0.1
    done
}

end orchestrator
end $SERVICES
rm -f "$up/processes"
sh "$here/../servers.sh" down "$@" "$up/servers"
