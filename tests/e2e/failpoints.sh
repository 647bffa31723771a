#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All failpoints of the runtime, each with an error, a crash and a hang (ended
# by kill -9) while a pod is led through its life; after a restart nothing may
# be lost, doubled or left over, and the same pod can be made again.
# (Those of the xen driver: tests/xen/driver_test.c.)
#   failpoints.sh BUILD [PATTERN]     PATTERN: only failpoints that match it
set -euo pipefail
if [ -z "${FAILPOINTS_SH_INSIDE:-}" ]; then
    FAILPOINTS_SH_INSIDE=1 exec unshare --net -- "$0" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
for tool in /usr/lib/cni/bridge /usr/sbin/ip; do
    [ -x "$tool" ] || { echo "needs $tool (containernetworking-plugins, iproute2)"; exit 77; }
done
names=$("$1/bin/gpu-isolated-runtime" --list-failpoints 2>/dev/null | grep -v ^xen_ | grep -E "${2:-.}") ||
    { echo "needs a build with GI_FAILPOINTS"; exit 77; }
at_end=0
trap 'at_end=$?; set +e; remove_cgroups; (exit $at_end); node_trap' EXIT
remove_cgroups() {
    find /sys/fs/cgroup -depth -type d -path "*$TEST_CGROUP_PARENT*" -exec rmdir {} + 2>/dev/null || true
}
plan= # where the runtime reads what is to fail
# Disowned: the shell would tell of each death.
await_death() { timeout 20 tail -s 0.02 --pid="$runtime_pid" -f /dev/null; }
begin_runtime() {
    start_runtime 30 || fail "$NODE_REASON"
    disown "$runtime_pid"
}
fired() { [ ! -e "$plan" ]; }
# The runtime, without waiting for its answer: it may not live that long.
launch_runtime() {
    "$NODE_BUILD/bin/gpu-isolated-runtime" --config "$NODE/etc/config.json" \
        >>"$NODE/logs/runtime.log" 2>&1 &
    runtime_pid=$!
    disown "$runtime_pid"
}

export TEST_CGROUP_PARENT=/gi-failpoints-$$
ip link set lo up
node_begin "$1"
NODE_NETWORK=cni
mkdir -p "$NODE/etc/net.d"
cat >"$NODE/etc/net.d/10-test.conflist" <<CONF
{"cniVersion": "1.0.0", "name": "testnet", "plugins": [
  {"type": "bridge", "bridge": "gi-fp0", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "$NODE/ipam", "ranges": [[{"subnet": "10.89.0.0/24"}]]}}]}
CONF
start_registry
push_demo
start_proxy
# As on Xen: the zone has copies of the host's files.
write_config
sed -i 's/"machine_driver": "local",/&\n  "host_files": "copied",/' "$NODE/etc/config.json"
export FP_VOLUME=$NODE/volume
mkdir -p "$FP_VOLUME/folder"
echo written >"$FP_VOLUME/folder/a"
plan=$NODE/plan
export GI_FAILPOINT=@$plan
begin_runtime
gpuictl pull -q "$demo_image" >/dev/null
export TEST_IMAGE=$demo_image TEST_LOG_ROOT=$NODE/pod-logs LEAKS_NODE=$NODE LEAKS_PROXY=$NODE/run/gpu-proxy.sock
client=$NODE_BUILD/bin/e2e-failpoints
state=$NODE/life

# walk NAME MODE: a life that is cut at NAME, and the rest of it after a restart.
walk() {
    local name=$1 mode=$2 pid='' kill=''
    rm -f "$state"
    [ "$name" != container_killed ] || kill=1
    if [[ $name == restart_* ]]; then
        # A pod that runs is taken up by a runtime that is cut in doing it.
        echo "container_started_saved=crash" >"$plan"
        "$client" life "$state" >/dev/null 2>&1 || true
        await_death || fail "$name: the runtime lives on"
        echo "$name=$mode" >"$plan"
        launch_runtime
    else
        echo "$name=$mode" >"$plan"
        FP_KILL=$kill; [ -z "$kill" ] || export FP_KILL
        "$client" life "$state" >"$NODE/logs/client.log" 2>&1 &
        pid=$!
    fi
    wait_for 20 fired || fail "$name=$mode: not reached: $(cat "$NODE/logs/client.log")"
    if [ "$mode" = crash ]; then
        await_death || fail "$name: the runtime survived"
    else
        # One call hangs; lists must not.
        [[ $name == restart_* ]] || "$client" lists || fail "$name: lists hang with it"
        kill -KILL "$runtime_pid"
        await_death
    fi
    [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
    begin_runtime
    "$client" life "$state" || fail "after $mode at $name (calls begun, acknowledged: $(cat "$state"))"
    export -n FP_KILL
}

say "an error at each"
mapfile -t reachable < <(grep -v '^restart_' <<<"$names")
[ "${#reachable[@]}" -eq 0 ] || "$client" errors "$plan" "${reachable[@]}" || fail "errors"
for mode in crash hang; do
    say "a $mode at each"
    for name in $names; do
        walk "$name" "$mode"
    done
done
say "$(wc -w <<<"$names") failpoints walked"
ip link del gi-fp0
