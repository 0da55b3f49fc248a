#!/bin/sh
# Checks what the compiler and clippy do not see: rooms, file sizes, directions of dependency, manners of the code.
# Usage: check.sh ROOT. Needs a POSIX shell and awk only.
#
# Each *.awk beside this script says what it checks and why. They print findings, tab-separated:
# `RULE PATH LINE MESSAGE`. `exceptions.txt` of the tree allows single ones, with a reason; `report.awk` judges.
set -eu
LC_ALL=C
export LC_ALL
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd "$1"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What .gitignore names is not ours to judge.
find . \( -path ./target -o -path ./.git -o -path ./.tools -o -path ./data -o -name node_modules \) -prune \
    -o ! -type d -print | sed 's|^\./||' | sort >"$work/paths"

for checks in layout manifests code; do
    awk -f "$here/$checks.awk" "$work/paths" >>"$work/findings"
done
awk -f "$here/report.awk" deploy/lint/exceptions.txt "$work/findings"
