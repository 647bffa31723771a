#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `cmake --install` lays out everything a node needs, and it starts from there.
#   install.sh BUILD
set -euo pipefail
to=$(mktemp -d)
trap 'rm -rf "$to"' EXIT
cmake --install "$1" --prefix "$to" >"$to.log" 2>&1 || { cat "$to.log"; rm -f "$to.log"; exit 1; }
rm -f "$to.log"
bad=0
for file in bin/{gpu-isolated-runtime,gpuictl,gpu-proxy} sbin/gpu-isolated-preflight \
    libexec/gpu-isolated/{gpu-isolated-agent,gpu-isolated-zone-init} \
    lib/gpu-isolated/{libcuda.so.1,libnvidia-ml.so.1,vgpu-smi,libcuda-sim.so} etc/gpu-isolated/config.json \
    lib/systemd/system/{gpu-isolated-runtime,gpu-proxy}.service \
    share/man/man1/{gpuictl,vgpu-smi}.1 share/man/man8/{gpu-isolated-runtime,gpu-proxy}.8 \
    share/gpu-isolated/kubernetes/{runtimeclass,installer}.yaml; do
    [ -s "$to/$file" ] || { echo "not installed: $file" && bad=1; }
done
# Nothing of the tests' is.
find "$to" -type f | grep -E 'test|fuzz|gi-push|gpu-demo|bench' && { echo "installed by mistake" && bad=1; }
for program in bin/{gpu-isolated-runtime,gpuictl,gpu-proxy} lib/gpu-isolated/vgpu-smi; do
    "$to/$program" --version >/dev/null || { echo "$program does not start" && bad=1; }
done
"$to/bin/gpu-isolated-runtime" --config "$to/etc/gpu-isolated/config.json" --print-config >/dev/null || bad=1
grep -q '@' "$to"/lib/systemd/system/*.service && { echo "a unit has an unfilled place" && bad=1; }
exit "$bad"
