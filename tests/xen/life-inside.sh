#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016
# In dom0: pods that are domains live as pods do. Two share a GPU, the runtime is
# killed while they run and while one is built; nothing is lost, nothing is left.
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
start_node /run/gi/before

echo "-- two pods share the GPU at once"
run --name a --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 5000 >/run/gi/a 2>&1 &
one=$!
run --name b --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 6000 >/run/gi/b 2>&1 || fail "b: $(cat /run/gi/b)"
wait $one || fail "a: $(cat /run/gi/a)"
grep -q "agree with the CPU's" /run/gi/a && grep -q "agree with the CPU's" /run/gi/b || fail "no results"

echo "-- kill -9 of the runtime: its pods live on and are known again"
run -d --keep --name long "$image" -- /bin/sh -c 'n=0; while [ $n -lt 600 ]; do echo line $n; n=$((n+1)); sleep 1; done' >/run/gi/id
kill -9 $runtime_pid
wait $runtime_pid 2>/dev/null || true
sleep 2
start_runtime
gpuictl exec long -- cat /proc/version | grep -q -- -zone || fail "exec after the restart"
until_ok 20 gpuictl logs long || fail "logs after the restart"
gpuictl logs long | awk '$2 != n++ { exit 1 }' || fail "a line is lost or doubled: $(gpuictl logs long)"
gpuictl stats long || fail "stats"
gpuictl rm -f long || fail "rm long"

echo "-- kill -9 of the runtime in the middle of a build"
run --name half "$image" -- /bin/true >/dev/null 2>&1 &
one=$!
sleep 1.5
kill -9 $runtime_pid
wait $runtime_pid 2>/dev/null || true
wait $one 2>/dev/null || true
start_runtime
gpuictl rm -f --all >/dev/null 2>&1 || true
until_ok 60 proxy_stats || fail "the driver domain is not found again"
[ "$(xl list | grep -c 'gi-@gpu')" = 1 ] || fail "not one driver domain"
until_ok 40 settle /run/gi/before || fail "left over: $(diff /run/gi/before /run/gi/now)"

echo "-- cycles"
for n in 1 2 3 4 5 6; do
    run --name "cycle-$n" "$image" -- /bin/true || fail "cycle $n"
done
until_ok 40 settle /run/gi/before || fail "left over: $(diff /run/gi/before /run/gi/now)"
echo "the same as before: $(tr '\n' ';' </run/gi/now)"
echo "PASS"
