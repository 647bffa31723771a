#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash
# In dom0: a node of its own, and pods on it that are domains.
set -e
export LD_LIBRARY_PATH=/node/lib PATH=$PATH:/node/bin
export CONTAINER_RUNTIME_ENDPOINT=unix:///run/gi/runtime.sock GPUICTL_LOG_ROOT=/run/gi/pod-logs
image=$(cat /node/image)
fail() {
    echo "FAIL: $*"
    tail -n 40 /run/gi/runtime.log
    tail -n 30 /var/log/xen/console/guest-*.log
    exit 1
}
now() { cut -d' ' -f1 /proc/uptime; }
until_ok() { # SECONDS COMMAND...
    local until
    until=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $until ] || return 1
        sleep 0.2
    done
}
mkdir -p /run/gi /var/lib/gi
cat >/run/gi/config.json <<END
{
  "socket": "/run/gi/runtime.sock",
  "run_dir": "/run/gi",
  "state_dir": "/var/lib/gi",
  "machine_driver": "xen",
  "xen_kernel": "/node/vmlinux",
  "xen_root": "/node/zone.erofs",
  "xen_block_script": "/node/xen-block",
  "xen_gpu_root": "/node/driver.erofs",
  "xen_gpu_memory": "512Mi",
  "gpu_proxy_socket": "/run/gi/gpu-proxy.sock",
  "network": "none",
  "registries": [{"host": "${image%%/*}", "plain_http": true}]
}
END
docker-registry serve /node/registry.yml >/run/gi/registry.log 2>&1 &
gpu-isolated-runtime --config /run/gi/config.json >/run/gi/runtime.log 2>&1 &
until_ok 60 gpuictl version || fail "the runtime does not answer"
gpuictl status | head -n 20
start=$(now)
gpuictl pull "$image" || fail "pull"
pulled=$(now)
gpuictl run --keep --name first "$image" -- /bin/sh -c \
    'echo "a pod of its own kernel: $(cat /proc/version)"; cat /etc/hostname; mount | head -n 3; id' \
    >/run/gi/said || fail "run: $(cat /run/gi/said)"
cat /run/gi/said
ran=$(now)
grep -q "a pod of its own kernel: .*-zone" /run/gi/said || fail "it is not the zone's kernel"
echo "pull from $start to $pulled, pod and container to $ran"
xl list
gpuictl rm -f first || fail "rm"
until_ok 20 gpu-proxy --stats --control /run/gi/gpu-proxy.sock || fail "no gpu-proxy in a driver domain"
echo "gpu-proxy answers at $(now)"
gpuictl run --keep --gpu --gpu-memory 64Mi --name gpu "$image" -- /bin/gpu-demo -n 20000 >/run/gi/said ||
    fail "GPU pod: $(cat /run/gi/said; gpu-proxy --stats --control /run/gi/gpu-proxy.sock)"
cat /run/gi/said
grep -q "agree with the CPU's" /run/gi/said || fail "no results"
gpu-proxy --stats --control /run/gi/gpu-proxy.sock
xl list
gpuictl rm -f gpu || fail "rm"
[ "$(xl list | wc -l)" = 3 ] || fail "a domain is left: $(xl list)"
echo "PASS"
