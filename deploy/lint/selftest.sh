#!/bin/sh
# Proves that check.sh finds what it is there to find: builds a small tree that keeps every rule, plants one violation
# at a time, and expects that one finding and no other. A rule without a plant fails as well.
#
# shellcheck disable=SC2016,SC2034  # what is planted is expanded where it is planted
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
planted=
failures=0

# === The tree that keeps every rule ===

member() {
    mkdir -p "$1/src"
    printf '[package]\nversion.workspace = true\n\n[lints]\nworkspace = true\n\n[dependencies]\n' >"$1/Cargo.toml"
    echo '//! Says what it is.' >"$1/src/lib.rs"
}

lines() {
    awk -v count="$1" 'BEGIN { while (n++ < count) print "fn a_line() {}" }'
}

count() {
    awk -v count="$1" 'BEGIN { while (n++ < count) print n }'
}

grow() {
    mkdir -p "$tree/deploy/lint" "$tree/target"
    cd "$tree"
    touch Cargo.toml Cargo.lock LICENSE README.md .gitignore target/anything.rs
    echo 'room services/shop/src/saga what the fixture has a saga for' >deploy/lint/exceptions.txt
    printf 'help: ## Say what there is\n\techo\n' >Makefile
    member crates/types
    member crates/runtime
    member crates/saga
    member services/shop
    member services/depot
    # Enough small files that one large one does not move the median or the p95.
    for n in $(count 40); do
        lines 5 >"crates/saga/src/part$n.rs"
    done
    for service in shop depot; do
        for room in main config domain rpc store; do
            lines 5 >services/$service/src/$room.rs
        done
        mkdir -p services/$service/migrations/sqlite services/$service/src/domain
        touch services/$service/defaults.toml services/$service/migrations/sqlite/0001_first.sql
    done
    echo 'spillway-types.workspace = true' >>services/shop/Cargo.toml
    mkdir services/shop/src/saga services/shop/migrations/postgres
    touch services/shop/src/saga.rs services/shop/src/saga/order.rs services/shop/migrations/postgres/0001_first.sql
    innocent
}

# What looks like a violation and is none: in words, in strings, in tests, in longer names, where it belongs.
innocent() {
    echo 'fn build() { Server::builder() }' >crates/runtime/src/server.rs
    {
        echo '// never tokio::spawn, Code::Ok or f64 in here'
        echo 'const TEXT: &str = "tokio::spawn \" SystemTime f64 // "; const CODE: u8 = ExitCode::SUCCESS;'
        echo '#[cfg(test)]'
        echo 'mod tests;'
        echo '#[cfg(test)]'
        echo 'mod inline {'
        echo '    fn now() { tokio::time::Instant::now(); Code::Ok }'
        lines 650
        echo '}'
    } >services/shop/src/domain.rs
    mkdir -p services/shop/src/domain/tests services/shop/src/rpc services/shop/tests
    { echo 'use tonic::Code; fn is() -> bool { a == Code::Ok }'; lines 650; } >services/shop/src/domain/tests.rs
    lines 650 >services/shop/src/domain/tests/model.rs
    { echo 'fn f() { ServiceBuilder::new() }'; lines 650; } >services/shop/tests/whole.rs
}

# === Planting ===

# plant RULE COMMANDS: runs the commands in a copy of the tree; check.sh must find RULE there, and nothing else.
plant() {
    planted="$planted $1"
    rm -rf "$work/case"
    cp -R "$tree" "$work/case"
    cd "$work/case"
    eval "$2"
    status=0
    sh "$here/check.sh" "$work/case" >"$work/out" 2>&1 || status=$?
    if [ "$status" != 1 ] || ! grep -q "\[$1\]\$" "$work/out" || grep '\]$' "$work/out" | grep -qv "\[$1\]\$"; then
        fail "with '$2', check.sh has to find $1, and only that; it ended with $status and said:"
    fi
}

fail() {
    failures=$((failures + 1))
    echo "lint: $1"
    cat "$work/out"
}

grow
sh "$here/check.sh" "$tree" >"$work/out" 2>&1 || fail "the tree that keeps every rule does not pass:"

shop=services/shop
plant top-level 'touch notes.txt'
plant top-level 'mkdir scripts && touch scripts/run.sh'
plant mod-rs 'mkdir crates/saga/src/log && touch crates/saga/src/log/mod.rs'
plant service-file 'touch $shop/notes.md'
plant room 'touch $shop/src/helpers.rs'
plant room 'mkdir $shop/src/utils && touch $shop/src/utils/text.rs'
plant missing-room 'rm $shop/src/store.rs'
plant backend 'mkdir $shop/migrations/mysql && touch $shop/migrations/mysql/0001_first.sql'
plant migrations 'touch $shop/migrations/sqlite/0002_more.sql'
plant inherit 'grep -v workspace $shop/Cargo.toml >new && mv new $shop/Cargo.toml'
plant inherit 'echo "serde = \"1\"" >>$shop/Cargo.toml'
plant inherit 'echo "serde = { version = \"1\", features = [] }" >>$shop/Cargo.toml'
plant direction 'echo "spillway-shop.workspace = true" >>crates/saga/Cargo.toml'
plant direction 'echo "spillway-runtime = { workspace = true }" >>crates/types/Cargo.toml'
plant direction 'echo "spillway-depot.workspace = true" >>$shop/Cargo.toml'
plant direction 'printf "[dev-dependencies]\nspillway-shop.workspace = true\n" >>crates/saga/Cargo.toml'
plant make-help 'echo "hidden:" >>Makefile'
plant crate-docs ': >crates/types/src/lib.rs'
plant main-size 'lines 41 >$shop/src/main.rs'
plant unbounded 'echo "fn f() { tokio::sync::mpsc::unbounded_channel::<u8>() }" >>$shop/src/store.rs'
plant unbounded 'echo "fn f() { std::sync::mpsc::channel::<u8>() }" >>$shop/tests/whole.rs'
plant glob-export 'echo "pub(crate) use store::*;" >>$shop/src/rpc.rs'
plant raw-server 'echo "fn f() { tonic::transport::Server::builder() }" >>$shop/tests/whole.rs'
plant raw-stack 'echo "fn f() { tower::ServiceBuilder::new() }" >>$shop/src/rpc.rs'
plant code-match 'echo "fn f() { matches!(status.code(), tonic::Code::Ok) }" >>$shop/src/rpc.rs'
plant code-match 'echo "fn after_the_tests() { Code::Ok }" >>$shop/src/domain.rs'
for impure in tokio::spawn sqlx::query tonic::Status rand::rng std::time::SystemTime Instant::now std::fs::read \
    spillway_storage::outbox crate::store::Row a.await; do
    plant pure-domain 'echo "fn f() { $impure }" >$shop/src/domain/rule.rs'
done
plant no-floats 'echo "fn share(price: f64) {}" >$shop/src/domain/rule.rs'
plant file-size 'lines 601 >$shop/src/rpc.rs'
plant p95-size 'for n in $(count 5); do lines 451 >$shop/src/rpc/$n.rs; done'
plant median-size 'for n in $(count 60); do lines 161 >$shop/src/rpc/$n.rs; done'
plant exception 'echo "mod-rs crates/saga/src/log/mod.rs there once was one" >>deploy/lint/exceptions.txt'
plant exception 'echo "raw-stack $shop/src/rpc.rs" >>deploy/lint/exceptions.txt'

# A rule that nobody has seen fail is a hope.
sed -n -e 's/.*found("\([a-z0-9-]*\)".*/\1/p' -e 's/.*stands("\([a-z0-9-]*\)".*/\1/p' "$here"/*.awk |
    sort -u >"$work/rules"
while read -r rule; do
    case " $planted " in
    *" $rule "*) ;;
    *) : >"$work/out" && fail "no violation of $rule is planted" ;;
    esac
done <"$work/rules"

[ "$failures" = 0 ] || exit 1
echo "rooms: every check finds what is planted for it ($(echo "$planted" | wc -w | tr -d ' ') plants)"
