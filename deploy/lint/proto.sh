#!/bin/sh
# Lints the protos and checks their formatting; `--fix` formats them instead.
set -eu
cd "$(dirname "$0")/../.."

sh deploy/lint/tools.sh buf
. deploy/lint/buf.env

if [ "${1:-}" = --fix ]; then
    exec "$buf" format --write proto
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A linter that looks at the wrong place finds nothing wrong, so each check has to find one planted fault first.
must_fail() {
    cp -R proto "$work/proto"
    printf '%s\n' "$1" >>"$work/proto/spillway/type/v1/line.proto"
    shift
    if "$@" "$work/proto" >/dev/null; then
        echo "lint: a planted fault passed: $*" >&2
        exit 1
    fi
    rm -r "$work/proto"
}
must_fail 'message badlyNamed {}' "$buf" lint
must_fail 'message  Crooked  {}' "$buf" format --diff --exit-code

"$buf" lint proto
"$buf" format --diff --exit-code proto
echo "protos: $(find proto/spillway -name '*.proto' | wc -l | tr -d ' ') files in order"
