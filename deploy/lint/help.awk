# Prints the targets and settings of a Makefile that carry a `##` comment, under its `# === Section ===` banners.

/^# === .* ===$/ { section = $3 }

/^[a-z][a-z-]*:.*## / {
    if (section != shown) {
        printf "\n%s\n", section
        shown = section
    }
    about($0, "^[^:]*")
}

/^[A-Z]+ \?= *## / { settings[++count] = $0 }

END {
    print "\nSettings, as in `make demo EXIT=1`"
    for (n = 1; n <= count; n++) about(settings[n], "^[A-Z]+")
}

function about(line, name) {
    match(line, name)
    printf "  %-12s ", substr(line, 1, RLENGTH)
    sub(/^.*## /, "", line)
    print line
}
