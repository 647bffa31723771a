# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# Pods come and go, again and again: CYCLES of them.
for n in $(seq "${CYCLES:-6}"); do
    run --name "cycle-$n" "$image" -- /bin/true || fail "cycle $n"
done
