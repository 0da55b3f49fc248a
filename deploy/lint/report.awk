# Judges. Reads the exceptions of the tree, then the findings and sizes of the other scripts; prints what stands, and
# how long files are. Exit 1 if anything stands.

BEGIN {
    FS = "\t"
    # A file is read in one sitting. Tests are not counted: a long table of cases is no burden.
    MAX_LINES = 600
    P95_LINES = 450
    MEDIAN_LINES = 160
}

# An exception is `RULE PATH REASON`; blank lines and comments aside.
FILENAME ~ /exceptions\.txt$/ {
    if ($0 == "" || $0 ~ /^#/) next
    split($0, word, " ")
    if (word[3] == "") stands("exception", FILENAME, FNR, "an exception is a rule, a path and a reason")
    else excepted[word[1] " " word[2]] = FNR
    next
}

$1 == "size" {
    if ($3 == 0) next
    files++
    total += $3
    having[$3]++
    if ($3 > longest) {
        longest = $3
        longest_path = $2
    }
    if ($3 > MAX_LINES && !allowed("file-size", $2))
        stands("file-size", $2, 0, $3 " lines without tests, at most " MAX_LINES)
    next
}

!allowed($1, $2) { stands($1, $2, $3, $4) }

END {
    for (each in excepted) {
        if (each in used) continue
        split(each, word, " ")
        stands("exception", "deploy/lint/exceptions.txt", excepted[each], "no longer needed: " each)
    }
    median = quantile(0.5)
    p95 = quantile(0.95)
    if (median > MEDIAN_LINES)
        stands("median-size", ".", 0, "half of the files have " median " lines or more, at most " MEDIAN_LINES)
    if (p95 > P95_LINES)
        stands("p95-size", ".", 0, "one file in twenty has " p95 " lines or more, at most " P95_LINES)
    printf "rooms: %d findings; %d files, %d lines without tests: median %d, p95 %d, max %d (%s)\n", \
        standing, files, total, median, p95, longest, longest_path
    exit standing > 0
}

function allowed(rule, path) {
    if (!((rule " " path) in excepted)) return 0
    used[rule " " path]
    return 1
}

function stands(rule, path, line, message) {
    standing++
    print path (line > 0 ? ":" line : "") ": " message " [" rule "]"
}

# The smallest length that this share of all files does not exceed.
function quantile(share,    size, seen) {
    for (size = 0; size < longest; size++) {
        seen += having[size]
        if (seen >= share * files) return size
    }
    return longest
}
