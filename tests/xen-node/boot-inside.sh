#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# In dom0: a PV and a PVH guest live, speak and end, and leave nothing behind.
set -e
fail() {
    echo "FAIL: $*"
    exit 1
}
now() { cut -d' ' -f1 /proc/uptime; }
# What a guest that is gone must not leave: domains, dom0's event channels,
# xenstore's nodes, free memory in Xen.
nodes() { xenstore-ls -f | grep -v -e '^/vm = ' -e '^/libxl = ' | cut -d= -f1 | sort; }
counts() {
    echo "domains=$(xl list | tail -n +2 | wc -l) channels=$(lsevtchn 0 | wc -l)" \
        "memory=$(xl info | sed -n 's/^free_memory *: //p')"
}

xl info | grep -E '^(xen_version|virt_caps)'
xl info | grep -q '^xen_version *: 4\.17' || fail "not Xen 4.17"
before=$(counts)
nodes >/tmp/before
for type in pv pvh; do
    name=guest-$type
    cat >/tmp/$name.cfg <<END
name = "$name"
type = "$type"
kernel = "/guest/vmlinux"
ramdisk = "/guest/initramfs"
extra = "console=hvc0 quiet"
memory = 192
vcpus = 1
END
    log=/var/log/xen/console/guest-$name.log
    start=$(now)
    xl create -q /tmp/$name.cfg || fail "xl create $name"
    built=$(now)
    tries=0
    until grep -aq '^GUEST is' "$log" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "$name said nothing: $(tail -n 5 "$log")"
        sleep 0.3
    done
    echo "$name: xl create from $start to $built, user space at $(now):" \
        "$(tr -d '\r' <"$log" | grep -a '^GUEST is')"
    grep -aqi "^GUEST is $type," "$log" || fail "$name is not a $type guest"
    xl list "$name" >/tmp/listed || fail "xl list does not know $name"
    grep -q "^$name .* 192 " /tmp/listed || fail "xl list: $(cat /tmp/listed)"
    xl destroy "$name" || fail "xl destroy $name"
    ! xl domid "$name" 2>/dev/null || fail "$name is still there"
done
# Xen gives a dead domain's memory back step by step.
tries=0
while after=$(counts) && [ "$before" != "$after" ] && [ $tries -lt 20 ]; do
    tries=$((tries + 1))
    sleep 0.2
done
nodes >/tmp/after
echo "before: $before"
echo "after:  $after"
[ "$before" = "$after" ] || fail "something leaked"
diff /tmp/before /tmp/after || fail "xenstore nodes leaked"
echo "PASS"
