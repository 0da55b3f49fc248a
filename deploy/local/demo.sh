#!/bin/sh
# Plays the demo on the distributed platform, which it starts unless it is up. Usage: demo.sh BINARIES [OPTION...]; the
# options are those of `spillway demo`. With --exit it ends what it started.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/common.sh"
binaries=$1
shift

before=$(alive | wc -l)
sh "$here/up.sh" "$binaries"
result=0
"$binaries/spillway" --config "$up/platform.toml" demo --attach "$@" || result=$?
case " $* " in
*' --exit '*) [ "$before" -gt 0 ] || sh "$here/down.sh" ;;
*) echo "The platform stays up; make down ends it." ;;
esac
exit "$result"
