#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016
# In dom0: what goes wrong on a node, with pods that are domains. Daemons die,
# domains die, a guest panics, a guest runs out of memory; nothing is lost, nothing
# is left.
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
start_registry
start_runtime
gpuictl pull "$image" >/dev/null 2>&1 || fail "pull"
until_ok 60 proxy_stats || fail "no gpu-proxy in a driver domain"

# What a node has when it has no pods: to be the same at the end.
inventory() {
    echo "domains $(xl list | tail -n +2 | awk '{print $1}' | tr '\n' ' ')"
    echo "zones $(xenstore-list /gpu-isolated/zones | tr '\n' ' ')"
    echo "xenstore $(xenstore-ls /local/domain/0/backend | wc -l)"
    echo "loops $(losetup -a | wc -l)"
    echo "descriptors $(ls /proc/$runtime_pid/fd | wc -l)"
    echo "interfaces $(ls /sys/class/net | wc -l)"
    echo "network namespaces $(ls /run/gi/netns | wc -l)"
    echo "event channels $(lsevtchn 0 | wc -l)"
}
settle() { # until the inventory is as in FILE
    inventory >/run/gi/now
    cmp -s "$1" /run/gi/now
}
run() { gpuictl run -q "$@" </dev/null; }

# One pod first: what is made once is there then.
run --name warm "$image" -- /bin/true || fail "warm"
inventory >/run/gi/before
cat /run/gi/before

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

echo "-- a guest that runs out of memory"
rc=0
run --keep --name hungry --memory 96Mi "$image" -- /bin/dd if=/dev/zero of=/tmp/fill bs=1M count=400 || rc=$?
[ $rc = 137 ] || fail "it ended with $rc, not 137"
gpuictl inspect hungry | grep -q OOMKilled || echo "NOTE: the reason is not OOMKilled"
gpuictl rm -f hungry

echo "-- a domain that dies under its pod"
run -d --keep --name victim "$image" -- /bin/sleep 600 >/dev/null
xl destroy "$(xl list | awk '/gi-gi-/ {print $2}')"
gone() { gpuictl ps --all | grep victim | grep -qi -e exited -e notready; }
until_ok 30 gone || fail "nobody noticed: $(gpuictl ps --all)"
gpuictl rm -f victim || fail "rm victim"

echo "-- a zone that was taken over"
run -d --keep --name taken --gpu-memory 64Mi --privileged "$image" -- /bin/sleep 600 >/dev/null
# All that a zone's kernel has, as a program in it sees it.
gpuictl exec taken -- /bin/sh -ec 'mkdir -p /dev/xen; for d in xenbus gntalloc gntdev evtchn; do
    mknod /dev/xen/$d c $(tr : " " </sys/class/misc/xen!$d/dev); done'
gpuictl exec taken -- /bin/xen-hostile "$(xl domid gi-@gpu)" >/run/gi/said 2>&1 &
one=$!
sleep 3
run --name beside --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 ||
    fail "a pod beside it: $(cat /run/gi/a)"
wait $one || fail "it got through: $(cat /run/gi/said)"
cat /run/gi/said
grep -q '^held$' /run/gi/said || fail "it did not come to its end: $(cat /run/gi/said)"
gpuictl rm -f taken || fail "rm taken"
run --name later --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 ||
    fail "a pod after it: $(cat /run/gi/a)"

echo "-- the driver domain dies"
run -d --keep --name user --gpu-memory 64Mi "$image" -- /bin/sh -c \
    'while /bin/gpu-demo --brief -n 2000 >/dev/null 2>/tmp/why; do :; done; cat /tmp/why; echo the GPU is gone' >/dev/null
sleep 8
old=$(xl domid gi-@gpu)
xl destroy gi-@gpu
heard() { gpuictl logs user | grep -q "the GPU is gone"; }
until_ok 60 heard || fail "its client heard nothing: $(gpuictl logs user)"
gpuictl logs user
another() { [ "$(xl domid gi-@gpu 2>/dev/null || echo "$old")" != "$old" ] && proxy_stats; }
until_ok 60 another || fail "no new driver domain"
run --name after --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 || fail "a new pod: $(cat /run/gi/a)"
gpuictl rm -f --all || fail "rm"

echo "-- cycles"
for n in 1 2 3 4 5 6; do
    run --name "cycle-$n" "$image" -- /bin/true || fail "cycle $n"
done
until_ok 40 settle /run/gi/before || fail "left over: $(diff /run/gi/before /run/gi/now)"
echo "the same as before: $(tr '\n' ';' </run/gi/now)"
echo "PASS"
