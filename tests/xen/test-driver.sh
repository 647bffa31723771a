#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# xenmgr's xen driver on real Xen.
#   test-driver.sh BUILD-FOLDER LOG
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
kernel=$("$root/guest-image/kernel/build.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$root/guest-image/rootfs/build.sh" "$1" "$work/zone.erofs"
adds=(--add "$kernel/vmlinux:/guest/vmlinux" --add "$work/zone.erofs:/guest/zone.erofs"
    --add "$1/bin/xen-driver-test:/node/driver-test" --add "$root/xenmgr/xen/xen-block:/node/xen-block")
# What the program loads: under /node/lib, beside dom0's own.
while read -r lib; do
    adds+=(--add "$lib:/node/lib/${lib##*/}")
done < <(ldd "$1/bin/xen-driver-test" | grep -o '/[^ ]*\.so[^ ]*')
"$root/tests/xen-node/again.sh" "$2" "$root/tests/xen-node/run.sh" --cmd "$here/driver-inside.sh" --log "$2" --timeout 700 "${adds[@]}"
