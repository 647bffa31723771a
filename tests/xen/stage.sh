# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034
# A node of our own, put together to be dom0's /node in tests/xen-node/run.sh:
# the zone's kernel and root, the driver domain's root, the runtime, gpuictl,
# mkfs.erofs, mkfs.ext4, and a registry that has the demo image, each program with all
# libraries it loads. Sourced, not run; needs tests/e2e/lib.sh.
#   stage_node BUILD    makes $STAGE/node
#   stage_end           removes all it made; fails when something is left
STAGE=

E2E_SUITES=(behaviour mounts methods streams fields)

stage_program() {
    local file lib
    for file in "$@"; do
        cp -L "$file" "$STAGE/node/bin/"
        while read -r lib; do
            [ -e "$STAGE/node/lib/${lib##*/}" ] || cp -L "$lib" "$STAGE/node/lib/"
        done < <(ldd "$file" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' || true)
    done
}

# A zone whose agent is not ours (tests/xen/liar.c).
stage_liar() { # BUILD ROOTFS-SCRIPT
    [ -x "$1/bin/xen-liar" ] || return 0
    mkdir -p "$STAGE/liar/bin"
    ln -s "$(realpath "$1")"/bin/* "$STAGE/liar/bin/"
    ln -s "$(realpath "$1")/lib" "$STAGE/liar/lib"
    ln -sf xen-liar "$STAGE/liar/bin/gpu-isolated-agent"
    "$2" "$STAGE/liar" "$STAGE/node/liar.erofs"
}

stage_node() {
    local build=$1 here kernel name
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    for name in crun docker-registry mkfs.erofs mkfs.ext4 socat; do
        command -v "$name" >/dev/null || { echo "SKIP: needs the program $name" && exit 77; }
    done
    [ -x /usr/lib/cni/bridge ] || { echo "SKIP: needs the Debian package containernetworking-plugins" && exit 77; }
    kernel=$("$here/../../guest-image/kernel/build.sh") || return
    STAGE=$(mktemp -d)
    mkdir -p "$STAGE/node/bin" "$STAGE/node/lib"
    "$here/../../guest-image/rootfs/build.sh" "$build" "$STAGE/node/zone.erofs"
    "$here/../../guest-image/rootfs/build.sh" "$build" "$STAGE/node/driver.erofs" driver
    stage_liar "$build" "$here/../../guest-image/rootfs/build.sh"
    node_begin "$build"
    # Pushed here, where it takes no emulated time.
    start_registry
    NODE_PROGRAMS=("$build/bin/xen-hostile" "$build/bin/idm-program")
    for name in idm-bench vchan-bench; do # tests/bench/xen-inside.sh's
        [ ! -x "$build/bin/$name" ] || NODE_PROGRAMS+=("$build/bin/$name")
    done
    NODE_DEMO_TAGS=(1 second)
    push_demo
    push_other
    end_process "$registry_pid"
    registry_pid=
    cp -a "$NODE/registry" "$STAGE/node/registry"
    sed "s|$NODE|/node|" "$NODE/etc/registry.yml" >"$STAGE/node/registry.yml"
    echo "$demo_image" >"$STAGE/node/image"
    cp "$kernel/vmlinux" "$here"/../../xenmgr/xen/xen-{block,vif} "$here"/{node-lib,attempt,local-inside}.sh "$STAGE/node/"
    mkdir "$STAGE/node/cni" "$STAGE/node/steps"
    cp "$here"/steps/*.sh "$STAGE/node/steps/"
    cp /usr/lib/cni/{bridge,host-local,loopback,portmap} "$STAGE/node/cni/"
    stage_program "$(command -v docker-registry)" "$(command -v mkfs.erofs)" "$(command -v mkfs.ext4)" \
        "$(command -v socat)" \
        "$build"/bin/{gpu-isolated-runtime,gpuictl,gpuctl,gpu-proxy,gpu-isolated-agent} "$(command -v crun)"
    cp "$build"/lib/{libcuda.so.1,libcuda-sim.so} "$STAGE/node/lib/"
    [ ! -x "$build/bin/vchan-bench" ] || stage_program "$build/bin/vchan-bench"
    for name in "${E2E_SUITES[@]}"; do # steps/cri.sh's
        [ ! -x "$build/bin/e2e-$name" ] || stage_program "$build/bin/e2e-$name"
    done
}

stage_end() {
    [ -z "$STAGE" ] || rm -rf "$STAGE"
    STAGE=
    [ -z "$NODE" ] || node_end
}
