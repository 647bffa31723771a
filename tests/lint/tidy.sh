#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang-tidy over every source of ours in the compilation database. A file
# whose text, headers and flags are unchanged since it was last found clean is
# not looked at again: the stamp is a hash over all of them.
set -euo pipefail
cd "$1"
command -v clang-tidy >/dev/null || { echo "needs clang-tidy"; exit 77; }
db=$2/compile_commands.json
[ -s "$db" ] || { echo "no $db"; exit 1; }
stamps=$2/tidy
mkdir -p "$stamps/db"
# A file that several targets build is looked at once.
awk 'BEGIN { RS = "},?\n" }
    match($0, /"file": "[^"]*"/) && !seen[substr($0, RSTART, RLENGTH)]++ {
        sub(/^\[\n/, "")
        out = out (out ? ",\n" : "") $0 "}"
    }
    END { print "[\n" out "\n]" }' "$db" >"$stamps/db/compile_commands.json"
db=$stamps/db/compile_commands.json
headers=$({ git ls-files -z '*.h' '*.calls' '*.proto' | xargs -0 cat; cat .clang-tidy "$db"; } | sha256sum)
export headers stamps db
one() {
    local f=$1 stamp
    stamp=$stamps/$({ echo "$headers $f"; cat "$f"; } | sha256sum | cut -d' ' -f1)
    [ -e "$stamp" ] && return 0
    # gcc-only warning flags mean nothing to clang-tidy.
    clang-tidy --quiet -p "$(dirname "$db")" --extra-arg=-Wno-unknown-warning-option \
        --extra-arg=-Wno-ignored-optimization-argument "$f" 2>/dev/null || return 1
    touch "$stamp"
}
export -f one
# shellcheck disable=SC2016
git ls-files '*.c' | while read -r f; do
    if grep -qF "\"file\": \"$PWD/$f\"" "$db"; then printf '%s\0' "$f"; fi
done | xargs -0 -n1 -P "$(nproc)" bash -c 'one "$0"'
