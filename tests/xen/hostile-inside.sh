#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2119
# In dom0: a zone was taken over (hostile.c); a pod beside it and one after it work.
# Not in ctest: under emulation the attacks starve what they are to leave alone.
#   tests/xen/test-node.sh BUILD tests/xen/hostile-inside.sh /tmp/console.log --stream
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
start_node /run/gi/before

echo "-- a zone that was taken over"
# All that a zone's kernel has, as a program in it sees it.
run -d --keep --name taken --gpu-memory 64Mi --privileged "$image" -- /bin/sh -ec 'mkdir -p /dev/xen
    for d in xenbus gntalloc gntdev evtchn; do
        mknod /dev/xen/$d c $(tr : " " </sys/class/misc/xen!$d/dev)
    done
    exec /bin/xen-hostile '"$(xl domid gi-@gpu)" >/dev/null
run --name beside --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 ||
    fail "a pod beside it: $(cat /run/gi/a)"
ended() { gpuictl ps --all | grep taken | grep -qi -e exited -e notready; }
until_ok 150 ended || fail "it did not come to its end: $(gpuictl logs taken)"
gpuictl logs taken
gpuictl logs taken | grep -q '^held$' || fail "it got through, or did not come to its end"
gpuictl rm -f taken || fail "rm taken"
run --name later --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 ||
    fail "a pod after it: $(cat /run/gi/a)"
echo "PASS"
