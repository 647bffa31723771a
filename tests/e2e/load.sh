#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Load: makers and removers of pods in parallel; many pods at once; a guest that
# is stuck. Lists and neighbours must not notice, nothing may be left.
#   load.sh BUILD [SECONDS [PODS]]     default 30 40
set -euo pipefail
if [ -z "${LOAD_SH_INSIDE:-}" ]; then
    LOAD_SH_INSIDE=1 exec unshare --net -- "$0" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
for tool in /usr/lib/cni/bridge /usr/sbin/ip; do
    [ -x "$tool" ] || { echo "needs $tool (containernetworking-plugins, iproute2)"; exit 77; }
done
remove_cgroups() {
    find /sys/fs/cgroup -depth -type d -path "*$TEST_CGROUP_PARENT*" -exec rmdir {} + 2>/dev/null || true
}
TSAN_OPTIONS="suppressions=$(dirname "$0")/tsan.supp ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}"
export TSAN_OPTIONS
export TEST_CGROUP_PARENT=/gi-load-$$
at_end=0
trap 'at_end=$?; set +e; remove_cgroups; (exit $at_end); node_trap' EXIT
ip link set lo up
node_begin "$1"
NODE_NETWORK=cni
mkdir -p "$NODE/etc/net.d"
cat >"$NODE/etc/net.d/10-test.conflist" <<CONF
{"cniVersion": "1.0.0", "name": "testnet", "plugins": [
  {"type": "bridge", "bridge": "gi-load0", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "$NODE/ipam", "ranges": [[{"subnet": "10.90.0.0/16"}]]}}]}
CONF
start_registry
push_demo
start_proxy
start_runtime 30
gpuictl pull -q "$demo_image" >/dev/null
export TEST_IMAGE=$demo_image TEST_LOG_ROOT=$NODE/pod-logs
export LEAKS_NODE=$NODE LEAKS_PROXY=$NODE/run/gpu-proxy.sock
client=$NODE_BUILD/bin/e2e-load
before=$(find "/proc/$runtime_pid/fd" -mindepth 1 | wc -l)

say "8 make and remove pods for ${2:-30} seconds"
"$client" churn 8 "${2:-30}" || fail "under load"
say "${3:-40} pods at once, and a guest that is stuck"
"$client" many "${3:-40}" 4 || fail "with many pods"
say "the runtime is as it was"
kill -0 "$runtime_pid" || fail "the runtime has died"
few_descriptors() { [ "$(find "/proc/$runtime_pid/fd" -mindepth 1 | wc -l)" -le $((before + 10)) ]; }
wait_for 10 few_descriptors || fail "descriptors: $before before, $(find "/proc/$runtime_pid/fd" | wc -l) after"
# Of a build with a sanitizer: it must have had nothing to say.
found=$(grep -lE "(Address|Thread|Leak)Sanitizer|runtime error:" "$NODE"/logs/*.log || true)
if [ -n "$found" ]; then
    grep -hE -A 30 -m 1 "(Address|Thread|Leak)Sanitizer|runtime error:" "$NODE"/logs/*.log || true
    fail "a sanitizer's report in $found"
fi
threads=$(find "/proc/$runtime_pid/task" -mindepth 1 -maxdepth 1 | wc -l)
[ "$threads" -le 200 ] || fail "$threads threads"
ip link del gi-load0
