#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# In dom0, for steps/local.sh: a runtime with the driver `local`, and the suites of CRI.
#   local-inside.sh [SUITE]
set -e
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
dir=/run/gi/local
mkdir -p $dir
runtime_log=$dir/runtime.log
# Agents have none of our environment.
for lib in /node/lib/*; do
    [ -e "/lib/x86_64-linux-gnu/${lib##*/}" ] || ln -s "$lib" /lib/x86_64-linux-gnu/
done
sed "s|/run/gi/runtime.sock|$dir/runtime.sock|; s|\"run_dir\": \"/run/gi\"|\"run_dir\": \"$dir\"|
    s|/var/lib/gi|/var/lib/local|; s|\"machine_driver\": \"xen\"|\"machine_driver\": \"local\"|
    s|/run/gi/gpu-proxy.sock|$dir/gpu-proxy.sock|; /\"xen_/d
    s|\"network\"|\"agent_path\": \"/node/bin/gpu-isolated-agent\", \"libvgpu_path\": \"/node/lib/libcuda.so.1\", \"oci_runtime\": \"/node/bin/crun\",\n  &|" \
    /run/gi/config.json >$dir/config.json
gpu-proxy --driver /node/lib/libcuda-sim.so --control $dir/gpu-proxy.sock --zones-dir $dir/zones >$dir/proxy.log 2>&1 &
proxy=$!
gpu-isolated-runtime --config $dir/config.json >$dir/runtime.log 2>&1 &
runtime=$!
export CONTAINER_RUNTIME_ENDPOINT=unix://$dir/runtime.sock
until_ok 30 gpuictl version || fail "the runtime does not answer"
cri_suites local "$@"
run --gpu --gpu-memory 64Mi --name gpu "$image" -- /bin/gpu-demo --brief -n 2000 >$dir/said 2>&1 || fail "GPU: $(cat $dir/said)"
grep -q "agree with the CPU's" $dir/said || fail "no results: $(cat $dir/said)"
kill -TERM $runtime
wait $runtime || fail "the local runtime ended with $?"
kill -TERM $proxy
wait $proxy || fail "gpu-proxy ended with $?: $(cat $dir/proxy.log)"
left=$(find /sys/fs/cgroup -type d -name 'gi-*')
[ -z "$left" ] || fail "cgroups are left: $left"
rm -r $dir /var/lib/local
