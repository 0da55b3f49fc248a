# What manifests say. Reads the paths of the tree, then every member's Cargo.toml and the Makefile.

BEGIN {
    # Which of our own packages a package may name; tests may also use those of `tools`. Nobody names a service, save
    # the command that composes all five: an arrow that points back is the start of a knot.
    may["types"] = " "
    may["contracts"] = " types "
    may["middleware"] = " types contracts "
    may["runtime"] = " types contracts middleware storage "
    may["storage"] = " types "
    may["saga"] = " types "
    shared = " types contracts middleware runtime storage saga "
    may["testkit"] = shared
    tools = shared "testkit "
}

/^(crates|services)\/[^\/]+\/Cargo\.toml$/ || /^tests\/Cargo\.toml$/ { manifest($0) }
$0 == "Makefile" { makefile($0) }

function manifest(file,    line, number, section, inherits) {
    while ((getline line < file) > 0) {
        number++
        if (line ~ /^\[/) section = line
        if (section == "[lints]" && line ~ /^workspace = true$/) inherits = 1
        if (section == "[package]" && line ~ /^(version|edition|rust-version|license|publish) *=/)
            found("inherit", file, number, "members inherit this from the root manifest: " line)
        if (section ~ /dependencies\]$/ && line ~ /^[A-Za-z]/) dependency(file, number, section, line)
    }
    close(file)
    if (!inherits) found("inherit", file, 0, "without `[lints] workspace = true` no lint of the house holds here")
}

function dependency(file, number, section, line,    package, name, allowed) {
    if (line !~ /workspace *= *true/) found("inherit", file, number, "versions stand in the root manifest: " line)
    package = file
    sub(/\/Cargo\.toml$/, "", package)
    sub(/^crates\//, "", package)
    name = line
    sub(/[ .=].*/, "", name)
    if (name !~ /^spillway/ || package == "spillway" || package == "tests") return
    sub(/^spillway-/, "", name)
    allowed = package in may ? may[package] : shared
    if (section == "[dev-dependencies]") allowed = tools
    if (index(allowed, " " name " ") == 0) found("direction", file, number, package " must not name " name)
}

# What `make help` does not show does not exist.
function makefile(file,    line, number) {
    while ((getline line < file) > 0) {
        number++
        if (line ~ /^[a-z][a-z-]*:/ && line !~ / ## /)
            found("make-help", file, number, "say what this target does, after ##")
    }
    close(file)
}

function found(rule, path, line, message) { print rule "\t" path "\t" line "\t" message }
