#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/conformance.md names every method of CRI, and says "done" of exactly
# those that have a handler which does not refuse; and every field that a
# request can have, Windows' messages aside. What is done or refused has a test.
set -euo pipefail
cd "$1"
page=docs/conformance.md
bad=0
complain() { echo "$page: $1" && bad=1; }

while read -r method; do
    row=$(grep "^| $method | " "$page") || { complain "no row for $method" && continue; }
    handler=$(sed -n "s/.*{\"$method\", cri_\([a-z_]*\),.*/\1/p" runtime/services/table.c)
    [ -n "$handler" ] || { complain "$method has no handler" && continue; }
    state='done'
    if grep -qE "^NO_CHECKPOINT\($handler\)" runtime/services/update.c ||
        sed -n "/^HANDLER($handler)/,/^}/p" runtime/services/update.c | grep -q GI_UNIMPLEMENTED; then
        state=refused
    fi
    grep -q "^| $method | $state" <<<"$row" || complain "$method is $state, the page says: $row"
done < <(sed -n 's/^ *rpc \([A-Za-z]*\)(.*/\1/p' proto/cri/api.proto)

# Message.field of what requests are made of (test-cri-descriptors: it is the API's).
published() {
    awk -F'\t' '
        $1 == "field" { fields[$2] = fields[$2] " " $4; type[$2, $4] = $5 }
        function visit(m,    list, n, i) {
            if (seen[m]++ || m ~ /^Windows/) return
            n = split(fields[m], list, " ")
            for (i = 1; i <= n; i++) { print m "." list[i]; visit(type[m, list[i]]) }
        }
        END { for (m in fields) if (m ~ /Request$/) visit(m) }' tests/cri/cri-v1.tsv | sort
}
# The page's rows: "| field, field | state | tests |" below "### Message", or "Message.field".
rows() {
    awk -F ' [|] ' '
        /^## / { message = ""; on = /^## Fields/ }
        /^### / { message = substr($0, 5) }
        on && /^[|] [A-Za-z]/ && !/^[|] field / {
            sub(/^[|] /, "", $1)
            n = split($1, list, ", ")
            for (i = 1; i <= n; i++)
                print (list[i] ~ /[.]/ ? list[i] : message "." list[i]) "\t" $2 "\t" $3
        }' "$page"
}
all=$(rows)
while read -r sign field; do
    case $sign in
    '<') complain "no row for $field" ;;
    *) complain "a row too many for $field" ;;
    esac
done < <(diff <(published) <(cut -f1 <<<"$all" | sort) | grep '^[<>]')
while IFS=$'\t' read -r field state tests; do
    case $state in
    done* | refused*) [[ $tests == *\`* ]] || complain "$field: no test" ;;
    ignored*) ;;
    *) complain "$field: neither done, refused nor ignored: $state" ;;
    esac
done <<<"$all"

known=$(ctest --test-dir "$2" -N | sed -n 's/.*Test *#[0-9]*: //p')
# shellcheck disable=SC2016
for name in $(sed -n '/^## Methods/,/^## critest/s/^| .* | \([^|]*`\) |$/\1/p' "$page" | tr -d '`' | tr ' ' '\n' | sort -u); do
    grep -qxF "$name" <<<"$known" || complain "there is no test $name"
done
exit "$bad"
