# Where files are. Reads the paths of the tree.

BEGIN {
    FS = "/"
    list(top, "Cargo.toml Cargo.lock LICENSE Makefile README.md crates deploy k8s proto services tests")
    list(service, "Cargo.toml defaults.toml migrations src tests")
    # The same rooms in every service. A missing one means "none" where a service can do without.
    list(needed, "main lib config domain rpc store")
    list(room, "main lib config domain rpc store clients worker error metrics tests")
    list(backend, "postgres sqlite")
}

# The top level says what the repository is made of; a newcomer reads it first.
!($1 in top) && $1 !~ /^\./ { found("top-level", $1, "not one of the names that the top level may hold") }

# `foo.rs` beside `foo/`: a tab called mod.rs says nothing.
$NF == "mod.rs" { found("mod-rs", $0, "name the file after its module: foo.rs beside foo/") }

$1 == "services" && NF > 2 {
    services[$2]
    if (!($3 in service))
        found("service-file", path(3, $3), "services hold Cargo.toml, defaults.toml, migrations, src and tests")
}

$1 == "services" && $3 == "src" {
    name = $4
    sub(/\.rs$/, "", name)
    if (NF == 4) have[$2, name]
    if (!(name in room)) found("room", path(4, name), "not a room that all services know")
}

$1 == "services" && $3 == "migrations" && NF == 5 {
    if (!($4 in backend)) found("backend", path(4, $4), "not a database that a service's store knows")
    migrations[$2, $4] = migrations[$2, $4] " " $5
}

END {
    for (name in services) {
        for (each in needed) {
            if (!((name, each) in have))
                found("missing-room", "services/" name "/src/" each ".rs", "every service has this room")
        }
        same_history(name)
    }
}

# One history, told twice: a change that one database lacks is found here, not in production.
function same_history(name,    postgres, sqlite) {
    postgres = migrations[name, "postgres"]
    sqlite = migrations[name, "sqlite"]
    if (postgres != "" && sqlite != "" && postgres != sqlite)
        found("migrations", "services/" name "/migrations", "postgres has" postgres ", sqlite has" sqlite)
}

# The path up to its field `last`, which is called `name`.
function path(last, name,    n, start) {
    for (n = 1; n < last; n++) start = start $n "/"
    return start name
}

function list(into, names,    n, count, parts) {
    count = split(names, parts, " ")
    for (n = 1; n <= count; n++) into[parts[n]]
}

# A room is a file and a folder, and a folder has many files: each is found once.
function found(rule, where, message) {
    if (!((rule, where) in told)) print rule "\t" where "\t0\t" message
    told[rule, where]
}
