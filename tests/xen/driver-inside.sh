#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# In dom0: the driver's test, and nothing left behind.
set -e
state() {
    xl list | tail -n +2 | awk '{print $1}'
    xenstore-ls /gpu-isolated 2>/dev/null || true
    xenstore-list /local/domain
    losetup -a | grep -v zone.erofs || true
}
state >/tmp/before
mkdir /tmp/tree
cp /guest/zone.erofs /tmp/tree.erofs # some image
LD_LIBRARY_PATH=/node/lib /node/driver-test /guest/vmlinux /guest/zone.erofs \
    "console=hvc0 quiet root=/dev/xvda ro rootfstype=erofs" /node/xen-block
xenstore-rm /gpu-isolated 2>/dev/null || true
state >/tmp/after
cmp /tmp/before /tmp/after || {
    echo "FAIL: something is left"
    diff /tmp/before /tmp/after
    exit 1
}
echo "PASS"
