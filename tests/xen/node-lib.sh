# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2034,SC2120,SC2012
# In dom0: the node that tests/xen/stage.sh put together. Sourced by scripts.
export LD_LIBRARY_PATH=/node/lib PATH=$PATH:/node/bin
export CONTAINER_RUNTIME_ENDPOINT=unix:///run/gi/runtime.sock GPUICTL_LOG_ROOT=/run/gi/pod-logs
image=$(cat /node/image)
scratch=/run/gi/tmp # for the steps
runtime_log=/run/gi/runtime.log

fail() {
    echo "FAIL: $*"
    tail -n 40 "$runtime_log"
    for log in /var/log/xen/console/guest-*.log /var/log/xen/qemu-dm-*.log; do
        [ -e "$log" ] || continue
        echo "== $log"
        tail -n 25 "$log"
    done
    xl info | grep memory
    xl list
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

# shellcheck disable=SC2120
proxy_stats() { gpuctl --control /run/gi/gpu-proxy.sock "$@" show; }

start_registry() {
    docker-registry serve /node/registry.yml >/run/gi/registry.log 2>&1 &
}

start_runtime() {
    mkdir -p /run/gi/net.d /var/lib/gi
    cat >/run/gi/net.d/10-pods.conflist <<END
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "pods0", "isGateway": true,
  "ipam": {"type": "host-local", "dataDir": "/run/gi/ipam",
    "ranges": [[{"subnet": "10.90.0.0/24"}], [{"subnet": "fd00:90::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
    [ -e /run/gi/config.json ] || cat >/run/gi/config.json <<END
{
  "socket": "/run/gi/runtime.sock",
  "run_dir": "/run/gi",
  "state_dir": "/var/lib/gi",
  "machine_driver": "xen",
  "machine_start_ms": 180000,
  "xen_kernel": "/node/vmlinux",
  "xen_root": "/node/zone.erofs",
  "xen_block_script": "/node/xen-block",
  "xen_vif_script": "/node/xen-vif",
  "xen_gpu_root": "/node/driver.erofs",
  "xen_gpu_memory": "512Mi",
  "xen_scratch_size": "64Mi",
  "gpu_proxy_socket": "/run/gi/gpu-proxy.sock",
  "network": "cni",
  "cni_conf_dir": "/run/gi/net.d",
  "cni_bin_dirs": ["/node/cni"],
  "registries": [{"host": "${image%%/*}", "plain_http": true}]
}
END
    gpu-isolated-runtime --config /run/gi/config.json >>/run/gi/runtime.log 2>&1 &
    echo $! >/run/gi/pid
    until_ok 60 gpuictl version || fail "the runtime does not answer"
    [ -e /run/gi/forwarded ] || forward_cri
    touch /run/gi/forwarded
}

# Of a process that is dead and not yet waited for there is no program.
running() { [ -n "$(readlink "/proc/$(cat /run/gi/pid)/exe")" ]; }
runtime_ended() { ! running; }

kill_runtime() {
    kill -9 "$(cat /run/gi/pid)"
    until_ok 10 runtime_ended || fail "the runtime does not die"
}

# The other half is test-node.sh's.
forward_cri() {
    socat TCP-LISTEN:7000,fork,reuseaddr UNIX-CONNECT:/run/gi/runtime.sock 2>/dev/null &
}

domains() { xl list | tail -n +2 | wc -l; }

# What a node has when it has no pods: to be the same at the end.
inventory() {
    echo "domains $(xl list | tail -n +2 | awk "{print \$1}" | tr "\n" " ")"
    echo "zones $(xenstore-list /gpu-isolated/zones | tr '\n' ' ')"
    echo "xenstore $(xenstore-ls /local/domain/0/backend | wc -l)"
    echo "loops $(losetup -a | wc -l)"
    echo "descriptors $(ls "/proc/$(cat /run/gi/pid)/fd" | wc -l)"
    echo "interfaces $(ls /sys/class/net | wc -l)"
    echo "network namespaces $(ls /run/gi/netns | wc -l)"
    echo "event channels $(lsevtchn 0 | wc -l)"
}
settle() { # until the inventory is as in FILE
    inventory >/run/gi/now
    cmp -s "$1" /run/gi/now
}

run() { gpuictl run -q "$@" </dev/null; }

# The suites of tests/e2e, all or those named, where pods are machines of the driver DRIVER.
cri_suites() { # DRIVER [SUITE...]
    export TEST_MACHINE=$1 TEST_IMAGE=$image TEST_OTHER_IMAGE=${image%/*}/other:1
    export TEST_LOG_ROOT=$scratch/logs TEST_VOLUME=$scratch/volume TEST_SUBNET=10.90.0.
    export TEST_CGROUP_PARENT=/pods TEST_HOST_PORT=8080
    shift
    [ $# -gt 0 ] || set -- behaviour mounts methods streams fields
    mkdir -p "$TEST_VOLUME"
    for name in "$image" "${image%:1}:second" "$TEST_OTHER_IMAGE"; do
        gpuictl pull -q "$name" >/dev/null || fail "pull $name"
    done
    truncate -s 8M "$scratch/block"
    mkfs.ext4 -q "$scratch/block"
    TEST_BLOCK=$(losetup -f)
    losetup "$TEST_BLOCK" "$scratch/block" || fail "no loop device"
    export TEST_BLOCK
    for suite in "$@"; do
        "e2e-$suite" >"$scratch/out" 2>&1 || fail "e2e-$suite: $(grep -v 'RUN\|OK' "$scratch/out")"
        echo "e2e-$suite: $(grep -c '  OK ' "$scratch/out") passed, $(grep -c 'SKIPPED \] [a-z_]*$' "$scratch/out") skipped"
    done
    gpuictl pull -q "$image" >/dev/null || fail "pull again" # a suite may have removed it
    losetup -d "$TEST_BLOCK"
    rm -r "$TEST_VOLUME" "$TEST_LOG_ROOT" "$scratch/out" "$scratch/block"
}

# A node that has had its first pod: what is made once is there. Its inventory is in FILE.
start_node() {
    start_registry
    start_runtime
    gpuictl pull "$image" >/dev/null 2>&1 || fail "pull"
    until_ok 90 proxy_stats || fail "no gpu-proxy in a driver domain"
    run --name warm "$image" -- /bin/true || fail "warm"
    inventory >"$1"
    cat "$1"
}
