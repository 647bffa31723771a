#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The zone's own kernel and root file system on real Xen.
#   test-zone.sh BUILD-FOLDER LOG
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
kernel=$("$root/guest-image/kernel/build.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$root/guest-image/rootfs/build.sh" "$1" "$work/zone.erofs"
bytes=$(cat "$kernel/vmlinux" "$work/zone.erofs" | wc -c)
echo "kernel and root file system: $bytes bytes"
# Sanitizers' libraries are not in what is shipped.
if ! ldd "$1/bin/gpu-isolated-agent" | grep -q libasan && [ "$bytes" -gt 20000000 ]; then
    echo "FAIL: more than 20 MB" >&2
    exit 1
fi
mkdir -p "$work"/features/{bin,dev,bundle}
cp "$(command -v busybox)" "$work/features/bin/busybox"
install -m 755 "$here/features-init" "$work/features/init"
cp "$here/features-bundle.json" "$work/features/bundle/config.json"
(cd "$work/features" && find . | cpio --quiet -o -H newc -R 0:0) >"$work/features.cpio"
"$here/again.sh" "$2" "$here/run.sh" --cmd "$here/zone-inside.sh" --log "$2" --timeout 240 --out "${2%.log}-guests" \
    --add "$kernel/vmlinux:/guest/vmlinux" --add "$work/zone.erofs:/guest/zone.erofs" \
    --add "$work/features.cpio:/guest/features"
