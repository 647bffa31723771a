# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# A zone was taken over (hostile.c): a pod beside it and one after it work.
# All that a zone's kernel has, as a program in it sees it.
run -d --keep --name taken --gpu-memory 64Mi --privileged "$image" -- /bin/sh -ec 'mkdir -p /dev/xen
    for d in xenbus gntalloc gntdev evtchn; do
        mknod /dev/xen/$d c $(tr : " " </sys/class/misc/xen!$d/dev)
    done
    exec /bin/xen-hostile '"$(xl domid gi-@gpu)" >/dev/null
run --name beside --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 ||
    fail "a pod beside it: $(cat /run/gi/a)"
over() { gpuictl ps --all | grep taken | grep -qi -e exited -e notready; }
until_ok 150 over || fail "it did not come to its end: $(gpuictl logs taken)"
gpuictl logs taken
gpuictl logs taken | grep -q '^held$' || fail "it got through, or did not come to its end"
gpuictl rm -f taken || fail "rm taken"
run --name later --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 ||
    fail "a pod after it: $(cat /run/gi/a)"
