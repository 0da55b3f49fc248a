#!/bin/sh
# Makes sure that the named tools (`rust`, `buf`) are there, and installs those that are not. What is there already
# needs no network.
set -eu
cd "$(dirname "$0")/../.."

. deploy/lint/buf.env

# A minimal Rust toolchain comes without rustfmt and clippy.
need_rust() {
    if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
        return
    fi
    if ! command -v rustup >/dev/null; then
        give_up "rustfmt and clippy are missing, and so is rustup: install both from where the Rust toolchain came from"
    fi
    rustup component add rustfmt clippy
}

need_buf() {
    if [ -x "$buf" ]; then
        return
    fi
    need_npm
    mkdir -p "$tools_home"
    # Installed beside its place and moved there, so that an interrupted download is never taken for a tool.
    half=$(mktemp -d "$tools_home/half.XXXXXX")
    trap 'rm -rf "$half"' EXIT
    npm install --prefix "$half" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
        --fetch-timeout=60000 --fetch-retries=3 "@bufbuild/buf@$buf_version"
    "$half/node_modules/.bin/buf" --version >/dev/null
    rm -rf "$buf_home"
    mv "$half" "$buf_home"
}

need_npm() {
    if command -v npm >/dev/null; then
        return
    fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        give_up "buf is installed by npm, which is missing: apt-get install npm, or see https://nodejs.org"
    fi
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends npm
}

give_up() {
    echo "lint: $1" >&2
    exit 1
}

for tool in "$@"; do
    case $tool in
    rust) need_rust ;;
    buf) need_buf ;;
    *) give_up "no such tool: $tool" ;;
    esac
done
