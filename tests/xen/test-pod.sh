#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A pod through CRI that is a Xen domain: registry, runtime and gpuictl in the
# dom0 of real Xen.
#   test-pod.sh BUILD-FOLDER LOG
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
build=$1
# shellcheck source=tests/e2e/lib.sh
. "$root/tests/e2e/lib.sh"
# shellcheck source=tests/xen/stage.sh
. "$here/stage.sh"
command -v docker-registry >/dev/null || { echo "SKIP: needs the Debian package docker-registry" && exit 77; }
kernel=$("$root/guest-image/kernel/build.sh")
finish() {
    local rc=$?
    trap - EXIT
    stage_end
    node_end || rc=1
    exit "$rc"
}
trap finish EXIT
node_begin "$build"
stage_begin "$build"
"$root/guest-image/rootfs/build.sh" "$build" "$STAGE/node/zone.erofs"
"$root/guest-image/rootfs/build.sh" "$build" "$STAGE/node/driver.erofs" driver

# The image is pushed here, where it takes no emulated time.
start_registry
push_demo
end_process "$registry_pid"
registry_pid=
cp -a "$NODE/registry" "$STAGE/node/registry"
sed "s|$NODE|/node|" "$NODE/etc/registry.yml" >"$STAGE/node/registry.yml"
cp "$kernel/vmlinux" "$root/xenmgr/xen/xen-block" "$STAGE/node/"
echo "$demo_image" >"$STAGE/node/image"
stage_program "$(command -v docker-registry)" "$(command -v mkfs.erofs)" \
    "$build"/bin/{gpu-isolated-runtime,gpuictl,gpu-proxy}
"$root/tests/xen-node/run.sh" --cmd "$here/pod-inside.sh" --log "$2" --timeout 300 \
    --memory 3584 --add "$STAGE/node:/" --out "${2%.log}-out"
