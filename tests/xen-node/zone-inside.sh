#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# In dom0: the zone's kernel and root start the agent, as PVH and as PV; the
# host's shutdown is a graceful end.
set -e
fail() {
    echo "FAIL: $*"
    exit 1
}
now() { cut -d' ' -f1 /proc/uptime; }

# Backends read block devices: the image is one, read-only, for all zones.
losetup -r /dev/loop0 /guest/zone.erofs
for type in pvh pv; do
    name=zone-$type
    log=/var/log/xen/console/guest-$name.log
    cat >/tmp/$name.cfg <<END
name = "$name"
type = "$type"
kernel = "/guest/vmlinux"
disk = ["format=raw, vdev=xvda, access=ro, target=/dev/loop0"]
extra = "console=hvc0 quiet root=/dev/xvda ro rootfstype=erofs -- --zone 7"
memory = 128
vcpus = 2
on_poweroff = "destroy"
on_crash = "preserve"
END
    start=$(now)
    xl create -q /tmp/$name.cfg || fail "xl create $name"
    built=$(now)
    tries=0
    until grep -aq '^zone-init: ' "$log" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "$name said nothing: $(tail -n 30 "$log")"
        sleep 0.3
    done
    echo "$name: xl create from $start to $built; by $(now):"
    tr -d '\r' <"$log" | grep -a '^zone-init: '
    grep -aq '^zone-init: agent ok' "$log" || fail "$name: the agent is not ready: $(tail -n 30 "$log")"
    xl list "$name" >/tmp/listed || fail "xl list does not know $name"
    xl shutdown "$name" >/dev/null
    tries=0
    while xl domid "$name" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "$name did not shut down: $(xl list; tail -n 30 "$log")"
        sleep 0.3
    done
    grep -aq '^zone-init: the agent ended with 0' "$log" || fail "$name: $(tail -n 30 "$log")"
    ! grep -aE 'Kernel panic|Oops:|BUG: |WARNING: CPU' "$log" || fail "$name's kernel complained"
    cp "$log" /out/
done

# The same kernel and root, with a container in it.
log=/var/log/xen/console/guest-features.log
cat >/tmp/features.cfg <<END
name = "features"
type = "pvh"
kernel = "/guest/vmlinux"
ramdisk = "/guest/features"
disk = ["format=raw, vdev=xvda, access=ro, target=/dev/loop0"]
extra = "console=hvc0 quiet"
memory = 192
vcpus = 1
END
xl create -q /tmp/features.cfg || fail "xl create features"
tries=0
until grep -aq '^FEATURE end' "$log" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || break
    sleep 0.3
done
cp "$log" /out/
echo "the zone's kernel: $(grep -ac '^FEATURE ok' "$log") features found"
! grep -a '^FEATURE bad' "$log" || fail "the zone's kernel lacks something"
grep -aq "^FEATURE ok its seccomp filter" "$log" || fail "no container ran: $(tail -n 30 "$log")"
losetup -d /dev/loop0
echo "PASS"
