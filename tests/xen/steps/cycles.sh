# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# Pods come and go, again and again: three, or as many as the step's number says.
for n in $(seq "${arg:-3}"); do
    run --name "cycle-$n" "$image" -- /bin/true || fail "cycle $n"
done
