# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# Two pods share the GPU at once.
run --name a --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 5000 >/run/gi/a 2>&1 &
one=$!
run --name b --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 6000 >/run/gi/b 2>&1 || fail "b: $(cat /run/gi/b)"
wait $one || fail "a: $(cat /run/gi/a)"
for said in a b; do
    grep -q "agree with the CPU's" /run/gi/$said || fail "no results: $(cat /run/gi/$said)"
done
