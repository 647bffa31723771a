#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The same pods by CRI through Debian's containerd + runc and through this
# build's runtime (machine driver `local`), in turns of one run on one machine,
# with the same network plugin, registry and image; prints medians and ratios.
# Below 1 is good: we take that part of containerd's time or memory.
#   compare.sh [BUILD [COUNT [PODS]]]      default build/release 30 50
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${COMPARE_SH_INSIDE:-}" ]; then
    COMPARE_SH_INSIDE=1 exec unshare --net -- "tests/bench/${0##*/}" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. tests/e2e/lib.sh
need_node
for tool in containerd runc containerd-shim-runc-v2 /usr/lib/cni/bridge /usr/sbin/ip; do
    command -v "$tool" >/dev/null ||
        { echo "needs $tool (containerd, runc, containernetworking-plugins, iproute2)"; exit 77; }
done
build=$(realpath "${1:-build/release}")
count=${2:-30}
pods=${3:-50}
rounds=3
containerd_pid=
at_end=0
trap 'at_end=$?; set +e; end_containerd; (exit $at_end); node_trap' EXIT
ip link set lo up
node_begin "$build"
NODE_NETWORK=cni
bench=$build/bin/cri-bench-client
ctd=$NODE/run/containerd.sock

# The plugin's configuration for one of the two: a bridge and addresses of its own.
write_network() {
    mkdir -p "$1"
    cat >"$1/10-bench.conflist" <<CONF
{"cniVersion": "1.0.0", "name": "bench$2", "plugins": [
  {"type": "bridge", "bridge": "gi-bench$2", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "$NODE/ipam", "ranges": [[{"subnet": "10.$2.0.0/16"}]]}}]}
CONF
}

start_containerd() {
    cat >"$NODE/etc/containerd.toml" <<CONF
version = 2
root = "$NODE/ctd/root"
state = "$NODE/ctd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "$ctd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_image"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$NODE/etc/containerd-net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${SNAPSHOTTER:-overlayfs}"
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."$registry_host"]
    endpoint = ["http://$registry_host"]
CONF
    containerd --config "$NODE/etc/containerd.toml" >"$NODE/logs/containerd.log" 2>&1 &
    containerd_pid=$!
    wait_pid=$containerd_pid wait_for 30 on containerd gpuictl version ||
        { node_fail "containerd does not answer" "$NODE/logs/containerd.log"; return 1; }
}

end_containerd() {
    [ -n "$containerd_pid" ] && [ -n "${TEST_IMAGE:-}" ] || return 0
    for who in containerd ours; do on "$who" timeout 120 "$bench" clear 1; done
    end_process "$containerd_pid"
    containerd_pid=
    # What it leaves mounted below its own folders.
    awk -v node="$NODE/ctd/" 'index($5, node) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r at; do umount -l "$at"; done
    # Its cgroups, empty now; one in use, another containerd's, stays.
    find /sys/fs/cgroup -depth -type d -path '*/k8s.io*' -exec rmdir {} + 2>/dev/null || true
}

# on containerd|ours COMMAND...
on() {
    local who=$1
    shift
    if [ "$who" = containerd ]; then
        CONTAINER_RUNTIME_ENDPOINT=unix://$ctd TEST_HANDLER='' "$@"
    else
        "$@"
    fi
}

# Memory of the daemon alone (RSS), and of it with its helpers (PSS).
memory() {
    local pid pattern sum=0 kib daemon=$runtime_pid
    pattern="gpu-isolated-agent.*$NODE"
    if [ "$1" = containerd ]; then
        daemon=$containerd_pid
        pattern="containerd-shim-runc-v2.*$ctd"
    fi
    for pid in "$daemon" $(pgrep -f "$pattern" || true); do
        kib=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null || echo 0)
        sum=$((sum + ${kib:-0}))
    done
    echo "$(awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status") $sum"
}

start_registry
push_demo
pause_image=$registry_host/pause:1
make_rootfs "$NODE/pause"
"$build/bin/gi-push" --root-owned --cmd /bin/sleep --cmd 1000000000 --env PATH=/bin \
    "http://$pause_image" "$NODE/pause" >"$NODE/logs/push.log" 2>&1
# An image with something in it: many small files and some big ones.
big_image=$registry_host/big:1
mkdir "$NODE/big"
cp -a /usr/include "$NODE/big/include"
cp -aL "$build/bin" "$NODE/big/bin" 2>/dev/null || true
# As many as are pulled, each with other layers.
for ((i = 0; i <= rounds * 3; i++)); do
    echo "$i" >"$NODE/big/number"
    at=$big_image.$(((i + 2) / 3)).$(((i + 2) % 3 + 1))
    [ "$i" -gt 0 ] || at=$big_image
    "$build/bin/gi-push" --root-owned "http://$at" "$NODE/big" >"$NODE/logs/push.log" 2>&1
done
big_size=$(du -sm "$NODE/big" | cut -f1) big_files=$(find "$NODE/big" | wc -l)
rm -rf "$NODE/big"
start_proxy
write_network "$NODE/etc/net.d" 101
write_network "$NODE/etc/containerd-net.d" 102
start_runtime 20
start_containerd || fail "$NODE_REASON"
export TEST_IMAGE=$demo_image TEST_LOG_ROOT=$NODE/pod-logs
for who in containerd ours; do
    on "$who" gpuictl pull -q "$demo_image" >/dev/null
    on "$who" gpuictl pull -q "$big_image" >/dev/null
    on "$who" "$bench" sequence 3 >/dev/null
done

# In turns, so that both meet the same machine.
for ((round = 0; round < rounds; round++)); do
    for who in containerd ours; do
        on "$who" "$bench" sequence $(((count + rounds - 1) / rounds)) >>"$NODE/$who.out"
        on "$who" "$bench" pull 3 "$big_image.$((round + 1))." >>"$NODE/$who.out"
    done
done

# The median round's median, in milliseconds; of several calls together: their sum.
middle() {
    local file=$1 key
    shift
    for key; do
        awk -v key="$key" '$1 == key { print $2 / 1000 }' "$file" | sort -n |
            awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
    done | awk '{ sum += $1 } END { print sum }'
}
calls() {
    line "$1" "$(middle "$NODE/containerd.$2" "${@:3}")" "$(middle "$NODE/ours.$2" "${@:3}")"
}
line() { awk -v n="$1" -v a="$2" -v b="$3" 'BEGIN { printf "%-40s %12.2f %12.2f %8.2f\n", n, a, b, b / a }'; }
echo "# $(nproc) cores; $(containerd --version | awk '{ print $1, $3 }'), $(runc --version | head -n 1);" \
    "ours: $(sed -n 's/.*driver="local: \([^,]*\),.*/\1/p' "$NODE/logs/runtime.log" | head -n 1)"
echo "# $((rounds * ((count + rounds - 1) / rounds))) pods each; pulled image: $big_size MiB, $big_files files"
printf '%-40s %12s %12s %8s\n' "milliseconds, median" containerd ours ratio
for key in RunPodSandbox CreateContainer StartContainer; do calls $key out $key; done
calls "  both together" out CreateContainer StartContainer
for key in ExecSync StopContainer RemoveContainer; do calls $key out $key; done
calls "  both together" out StopContainer RemoveContainer
for key in StopPodSandbox RemovePodSandbox; do calls $key out $key; done
calls "  both together" out StopPodSandbox RemovePodSandbox
calls "all of them" out RunPodSandbox CreateContainer StartContainer ExecSync StopContainer \
    RemoveContainer StopPodSandbox RemovePodSandbox
calls "PullImage, with unpacking" out PullImage

printf '\n%-40s %12s %12s %8s\n' "MiB" containerd ours ratio
have=0
for want in 0 10 "$pods"; do
    [ "$want" -eq 0 ] || [ "$want" -gt "$have" ] || continue
    for who in containerd ours; do
        [ "$want" -eq "$have" ] || on "$who" "$bench" pods $((want - have)) >/dev/null
    done
    have=$want
    read -r c_rss c_all < <(memory containerd)
    read -r o_rss o_all < <(memory ours)
    line "daemon, $want pods (RSS)" "$((c_rss))e-3" "$((o_rss))e-3"
    line "with shims / agents, $want pods (PSS)" "$((c_all))e-3" "$((o_all))e-3"
done
for who in containerd ours; do on "$who" "$bench" lists 200 >"$NODE/$who.lists"; done
printf '\n%-40s %12s %12s %8s\n' "milliseconds, median, $pods pods" containerd ours ratio
for key in ListPodSandbox ListContainers; do calls $key lists $key; done
