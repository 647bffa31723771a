#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The test node itself: Xen boots, PV and PVH guests run in it.
#   test-boot.sh LOG
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/xen-node/debs.sh
. "$here/debs.sh"
dom0=$("$here/make-dom0.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root"/{bin,dev}
cp "$(command -v busybox)" "$work/root/bin/busybox"
install -m 755 "$here/guest-init" "$work/root/init"
(cd "$work/root" && find . | cpio --quiet -o -H newc -R 0:0) >"$work/initramfs"
"$here/again.sh" "$1" "$here/run.sh" --cmd "$here/boot-inside.sh" --log "$1" --timeout 240 \
    --add "$dom0/vmlinux:/guest/vmlinux" --add "$work/initramfs:/guest/initramfs"
