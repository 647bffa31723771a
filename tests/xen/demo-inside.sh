#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2119
# In dom0: what ./quickstart --xen shows.
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
step() { printf '\n-- %s (%s s after power-on)\n' "$*" "$(now)"; }
step "this machine"
xl info | grep -E '^(xen_version|virt_caps|total_memory)'
step "the runtime with the driver xen; it starts the driver domain"
start_registry
start_runtime
gpuictl version
step "pulling through CRI"
gpuictl pull "$image" >/dev/null 2>&1 || fail "pull"
gpuictl images
step "waiting for gpu-proxy, which is in the driver domain"
until_ok 60 proxy_stats || fail "no gpu-proxy in a driver domain"
step "a GPU pod through CRI: runtime handler gpu-isolated"
elements=20000
gpuictl run --keep --gpu --gpu-memory 64Mi --name gpu-demo "$image" -- /bin/gpu-demo -n $elements \
    >/run/gi/said || fail "the CUDA program: $(cat /run/gi/said)"
cat /run/gi/said
step "the pod is a domain, its GPU is in another; neither is in dom0"
xl list
proxy_stats
computed=$(sed -n 's/^reduce_i32 .*computed \([0-9]*\) .*/\1/p' /run/gi/said)
expected=$((elements * (elements - 1) / 2))
[ "$computed" = $expected ] || fail "the GPU says the sum is \"$computed\", it is $expected"
printf "\nsum of 0 ... %s, by the pod's GPU: %s; by the formula: %s\n" $((elements - 1)) "$computed" $expected
if [ -e /node/keep ]; then
    step "left running until Ctrl-C (--keep)"
    echo "  export CONTAINER_RUNTIME_ENDPOINT=$(cat /node/keep)"
    echo "  build/release/bin/gpuictl ps; build/release/bin/gpuictl exec gpu-demo -- cat /proc/version"
    while :; do sleep 3600; done
fi
gpuictl rm -f --all || fail "rm"
[ "$(domains)" = 2 ] || fail "a pod's domain is left"
