#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/conformance.md names every method of CRI, and says "done" of exactly
# those that have a handler which does not refuse.
set -euo pipefail
cd "$1"
bad=0
while read -r method; do
    row=$(grep "^| $method | " docs/conformance.md) || { echo "no row for $method" && bad=1 && continue; }
    handler=$(sed -n "s/.*{\"$method\", cri_\([a-z_]*\),.*/\1/p" runtime/services/table.c)
    [ -n "$handler" ] || { echo "$method has no handler" && bad=1 && continue; }
    state='done'
    if grep -qE "^NO_CHECKPOINT\($handler\)" runtime/services/update.c ||
        sed -n "/^HANDLER($handler)/,/^}/p" runtime/services/update.c | grep -q GI_UNIMPLEMENTED; then
        state=refused
    fi
    grep -q "^| $method | $state" <<<"$row" || { echo "$method is $state, the page says: $row" && bad=1; }
done < <(sed -n 's/^ *rpc \([A-Za-z]*\)(.*/\1/p' proto/cri/api.proto)
exit "$bad"
