#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2119
# In dom0: what goes wrong in domains. A guest runs out of memory, one dies, the
# driver domain dies; others do not notice, nothing is left.
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
start_node /run/gi/before

echo "-- a guest that runs out of memory"
rc=0
run --keep --name hungry --memory 96Mi "$image" -- /bin/busybox sort /dev/zero || rc=$?
[ $rc = 137 ] || fail "it ended with $rc, not 137"
hungry=$(gpuictl ps --all | awk '$2 == "hungry" { print $1; exit }')
gpuictl inspect "$hungry" | grep -q OOMKilled || fail "the reason: $(gpuictl inspect "$hungry" | grep -i reason)"
gpuictl rm -f hungry

echo "-- a domain that dies under its pod"
run -d --keep --name victim "$image" -- /bin/sleep 600 >/dev/null
xl destroy "$(xl list | awk '/gi-gi-/ {print $2}')"
gone() { gpuictl ps --all | grep victim | grep -qi -e exited -e notready; }
until_ok 30 gone || fail "nobody noticed: $(gpuictl ps --all)"
gpuictl rm -f victim || fail "rm victim"

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

until_ok 60 settle /run/gi/before || fail "left over: $(diff /run/gi/before /run/gi/now)"
echo "PASS"
