# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# Pods come and go, again and again: three, or until this node has had as many as the
# step's number says, those of the steps before it counted.
had() { grep -c 'method=RunPodSandbox code=OK' /run/gi/runtime.log; }
n=0
while [ $n -lt 3 ] || [ "$(had)" -lt "${arg:-0}" ]; do
    n=$((n + 1))
    run --name "cycle-$n" "$image" -- /bin/true || fail "cycle $n"
done
echo "$(had) pods came and went on this node, the last $n one after the other"
