# What Rust files hold. Reads the paths of the tree, then every Rust file twice: first to learn which modules are
# compiled for tests only, then to check. Strings and comments are not code. Also prints the length of each file
# without its tests, as `size PATH LINES 0`, for report.awk to judge.

BEGIN {
    MAIN_LINES = 40 # load, bind, run; whatever is longer belongs to a room
}

/\.rs$/ { files[++count] = $0 }

END {
    for (n = 1; n <= count; n++) find_test_modules(files[n])
    for (n = 1; n <= count; n++) check(files[n])
}

# === What is a test ===

function find_test_modules(file,    line, marked, name, folder) {
    while ((getline line < file) > 0) {
        if (line ~ /^ *#\[cfg\((all\()?test[,)]/) marked = 1
        else if (marked && line ~ /^ *(pub(\([a-z]+\))? )?mod [a-z_0-9]+;/) {
            name = line
            sub(/^.*mod /, "", name)
            sub(/;.*/, "", name)
            folder = file
            if (!sub(/\/(lib|main)\.rs$/, "/", folder)) sub(/\.rs$/, "/", folder)
            tests[folder name]
            marked = 0
        }
        else if (line !~ /^ *#\[/) marked = 0
    }
    close(file)
}

# True for files of a `tests/` next to a manifest, for modules under `#[cfg(test)]`, and for what is below those.
function is_test(file,    module) {
    if (file ~ /^tests\// || file ~ /^(crates|services)\/[^\/]+\/(tests|benches)\//) return 1
    module = file
    sub(/\.rs$/, "", module)
    do if (module in tests) return 1; while (sub(/\/[^\/]*$/, "", module))
    return 0
}

# === The checks ===

function check(file,    line, number, lines, test, skip, indent, first) {
    test = is_test(file)
    while ((getline line < file) > 0) {
        number++
        if (number == 1) first = line
        # An item under `#[cfg(test)]` ends where a bracket closes at the depth it began at, or on its only line.
        if (!skip && line ~ /^ *#\[cfg\((all\()?test[,)]/) {
            match(line, /^ */)
            indent = substr(line, 1, RLENGTH)
            skip = 1
        } else if (skip == 1 && line !~ /^ *#\[/) {
            skip = line ~ /[;},]$/ ? 3 : 2
        } else if (skip == 2 && ends(line, indent)) {
            skip = 3
        }
        if (!skip) lines++
        check_line(file, number, code(line), test || skip)
        if (skip == 3) skip = 0
    }
    close(file)
    if (file ~ /\/src\/lib\.rs$/ && file !~ /^tests\// && first !~ /^\/\/!/)
        found("crate-docs", file, 1, "begins with //!: what the crate is, and a map of what it holds")
    if (file ~ /\/src\/main\.rs$/ && lines > MAIN_LINES)
        found("main-size", file, lines, "at most " MAIN_LINES " lines: load, bind, run")
    if (!test) print "size\t" file "\t" lines + 0 "\t0"
}

function check_line(file, number, line, test) {
    if (line ~ /unbounded_channel|Unbounded(Sender|Receiver)|mpsc::(unbounded|channel)(::<[^(]*>)?\(\)/)
        found("unbounded", file, number, "every queue has a named limit, with the reason for its size")
    if (line ~ /pub(\([a-z]+\))? use [^;]*\*/)
        found("glob-export", file, number, "name what is exported: readers search for names")
    if (line ~ /(^|[^A-Za-z_])Server::builder\(/ && file !~ /^crates\/runtime\//)
        found("raw-server", file, number, "leaves HTTP/2 limits off; spillway_runtime::server builds servers")
    if (test) return
    if (line ~ /(^|[^A-Za-z_])ServiceBuilder/ && file != "crates/middleware/src/stack.rs")
        found("raw-stack", file, number, "crates/middleware/src/stack.rs alone decides the order of the layers")
    if (line ~ /(^|[^A-Za-z_])Code::[A-Z{]/ && file !~ /^crates\/(middleware|types)\//)
        found("code-match", file, number, "ask Reason or Class: what a code means is decided in one table")
    if (file ~ /^services\/[^\/]+\/src\/domain(\.rs|\/)/) check_domain(file, number, line)
}

# Pure rules can be tested by the thousand and replayed. Time and chance are arguments; the wire and the database are
# other rooms.
function check_domain(file, number, line) {
    if (line ~ /(^|[^A-Za-z_])(tokio|sqlx|tonic|prost|rand|tracing|async_trait)(::|;)|(^|[^a-z_])async |\.await/ \
        || line ~ /spillway_(contracts|middleware|runtime|storage|saga)/ \
        || line ~ /crate::(rpc|store|clients|worker|config)(::|;)|std::(env|fs|net|process|thread)/ \
        || line ~ /(^|[^A-Za-z_])(SystemTime|Instant)($|[^A-Za-z_])/)
        found("pure-domain", file, number, "a domain uses spillway_types and values; nothing that waits or varies")
    if (line ~ /(^|[^A-Za-z0-9_])f(32|64)($|[^A-Za-z0-9_])/)
        found("no-floats", file, number, "money, stock and points are whole numbers of minor units")
}

# === Text ===

# The line without what is inside quotes, and without its comment.
function code(line) {
    gsub(/'\\?"'/, "' '", line)
    gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
    sub(/\/\/.*/, "", line)
    return line
}

function ends(line, indent,    rest) {
    if (substr(line, 1, length(indent)) != indent) return 0
    rest = substr(line, length(indent) + 1)
    return rest ~ /^[}\]]/ || rest ~ /^\).*;$/
}

function found(rule, path, line, message) { print rule "\t" path "\t" line "\t" message }
