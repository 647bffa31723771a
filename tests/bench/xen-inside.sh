#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016
# In dom0: what a pod's start as a domain costs, phase by phase, against `xl` making
# a domain of the same kernel and root by hand, in the same run. Seconds of an
# emulated machine: only their ratios mean something.
#   tests/xen/test-node.sh build/release tests/bench/xen-inside.sh /tmp/console.log
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
start_registry
start_runtime
gpuictl pull "$image" >/dev/null 2>&1 || fail "pull"
until_ok 60 proxy_stats || fail "no gpu-proxy in a driver domain"

# Milliseconds of the last call METHOD in the runtime's log.
took() { sed -n "s/.*rpc method=$1 code=OK ms=\([0-9.]*\).*/\1/p" /run/gi/runtime.log | tail -n 1; }
ms() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.0f\n", (b - a) * 1000 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
free_kb() { awk '/^MemAvailable/ { print $2 }' /proc/meminfo; }

# xl asks each time whether dom0 must give memory away, and waits two seconds for it.
mkdir -p /etc/xen
echo 'autoballoon="off"' >>/etc/xen/xl.conf
cat >/run/gi/bare.cfg <<END
name = "bare"
type = "pvh"
kernel = "/node/vmlinux"
disk = ["format=raw, vdev=xvda, access=ro, target=/dev/loop7"]
extra = "console=hvc0 quiet root=/dev/xvda ro rootfstype=erofs -- --zone 9"
memory = 256
vcpus = 1
END
losetup -r /dev/loop7 /node/zone.erofs
log=/var/log/xen/console/guest-bare.log
for _ in 1 2 3; do
    rm -f $log
    kill -HUP "$(cat /run/xenconsoled.pid)" 2>/dev/null || true
    a=$(now)
    xl create -q /run/gi/bare.cfg
    b=$(now)
    until grep -aq '^zone-init: agent ok' $log 2>/dev/null; do sleep 0.05; done
    c=$(now)
    ms "$a" "$b" >>/run/gi/bare.build
    ms "$b" "$c" >>/run/gi/bare.boot
    xl destroy bare
    sleep 1
done
build=$(median </run/gi/bare.build) boot=$(median </run/gi/bare.boot)
echo "by hand: xl create $build ms, until its agent is ready $boot ms more"

for n in 1 2 3; do
    gpuictl run -q --keep --name "pod$n" "$image" -- /bin/true || fail "pod"
    took RunPodSandbox >>/run/gi/sandbox
    took CreateContainer >>/run/gi/create
    took StartContainer >>/run/gi/start
    gpuictl rm -f "pod$n" >/dev/null
    took StopPodSandbox >>/run/gi/stop
done
sandbox=$(median </run/gi/sandbox)
echo "RunPodSandbox $sandbox ms = $(ratio "$sandbox" $((build + boot))) of xl create to its agent"
echo "CreateContainer $(median </run/gi/create) ms (the image is a disk already; it is attached and mounted)"
echo "StartContainer $(median </run/gi/start) ms, StopPodSandbox $(median </run/gi/stop) ms"

# A core for the program, one for the worker in the driver domain.
# (Emulated processors fail now and then, tests/xen-node/again.sh: then once more.)
idm() {
    gpuictl run -q --name idm --gpu-memory 128Mi --cpus 2 --memory 160Mi "$image" -- \
        /bin/idm-bench --quick --pod libcuda.so.1 >/run/gi/idm 2>&1
}
tries=1
until idm; do
    if [ $tries -ge 4 ] || ! xl dmesg -c | grep -q 'Triple fault'; then
        fail "idm-bench: $(cat /run/gi/idm)"
    fi
    tries=$((tries + 1))
done
cat /run/gi/idm

# The same wait without IDM: a byte there and back, dom0 to a zone.
gpuictl run -q -d --keep --name vchan --privileged "$image" -- /bin/sh -ec 'mkdir -p /dev/xen
    for d in xenbus gntalloc gntdev evtchn; do
        mknod /dev/xen/$d c $(tr : " " </sys/class/misc/xen!$d/dev)
    done
    exec /bin/vchan-bench serve 0' >/dev/null || fail "vchan"
vchan-bench call "$(xl list | awk '/gi-gi-/ { print $2; exit }')" || fail "vchan: $(gpuictl logs vchan)"
gpuictl rm -f vchan >/dev/null

before=$(free_kb)
for n in 1 2 3; do
    gpuictl run -q -d --name "idle$n" "$image" -- /bin/sleep 600 >/dev/null || fail "idle"
done
sleep 2
echo "dom0: $(((before - $(free_kb)) / 3)) KiB a pod; a pod's domain: $(xl list | awk '/gi-gi-/ { print $3; exit }') MiB"
echo "runtime: $(awk '/^VmRSS/ { print $2 }' "/proc/$(cat /run/gi/pid)/status") KiB"
gpuictl exec idle1 -- cat /proc/meminfo | head -n 3
echo "zone-init: $(grep -ah '^zone-init: agent ok' /var/log/xen/console/guest-gi-gi-*.log | tail -n 1)"
gpuictl rm -f --all >/dev/null
