# For the scripts beside it: what is where, and what runs.

SERVICES='orchestrator order inventory payment fulfilment'
: "${REPLICAS:=2}"
# Where the platform of this clone is.
up=${SPILLWAY_UP:-$here/../../data/up}
mkdir -p "$up"
up=$(CDPATH='' cd -- "$up" && pwd)

. "$here/../servers/process.sh"

# Process ids of what up.sh started and still runs; of the services $@ only, if there are any.
alive() {
    [ -f "$up/processes" ] || return 0
    while read -r service _ pid _ binary; do
        case " ${*:-$service} " in
        *" $service "*) ! is_process "$pid" "$binary" || echo "$pid" ;;
        esac
    done <"$up/processes"
}
