#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The fields of CRI's requests, seen from inside of containers: test_fields.c
# against a node of this build with pod networks.
#   fields.sh BUILD
set -euo pipefail
if [ -z "${FIELDS_SH_INSIDE:-}" ]; then
    FIELDS_SH_INSIDE=1 exec unshare --net -- "$0" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
for tool in /usr/lib/cni/bridge /usr/lib/cni/portmap /usr/sbin/ip /usr/sbin/iptables; do
    [ -x "$tool" ] || { echo "needs $tool (containernetworking-plugins, iproute2, iptables)"; exit 77; }
done
remove_cgroups() {
    find /sys/fs/cgroup -depth -type d -path "*$TEST_CGROUP_PARENT*" -exec rmdir {} + 2>/dev/null || true
}
export TEST_CGROUP_PARENT=/gi-fields-$$
at_end=0
trap 'at_end=$?; set +e; remove_cgroups; [ -z "${TEST_BLOCK:-}" ] || losetup -d "$TEST_BLOCK"; (exit $at_end); node_trap' EXIT
ip link set lo up
node_begin "$1"
NODE_NETWORK=cni
mkdir -p "$NODE/etc/net.d"
cat >"$NODE/etc/net.d/10-test.conflist" <<CONF
{"cniVersion": "1.0.0", "name": "testnet", "plugins": [
  {"type": "bridge", "bridge": "gi-fields0", "isGateway": true, "ipMasq": true,
   "ipam": {"type": "host-local", "dataDir": "$NODE/ipam", "ranges": [[{"subnet": "10.91.0.0/24"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CONF
start_registry
NODE_DEMO_TAGS=(1 second)
push_demo
start_proxy
start_runtime 30
gpuictl pull -q "$demo_image" >/dev/null
gpuictl pull -q "${demo_image%:1}:second" >/dev/null
TEST_HOST_PORT=$(free_port) || fail "no free port"
mkdir -p "$NODE/volume"
# A block device, where there are loop devices to be had.
truncate -s 8M "$NODE/block"
/sbin/mkfs.ext4 -q "$NODE/block"
if block=$(losetup --find --show "$NODE/block" 2>/dev/null); then
    export TEST_BLOCK=$block
fi
export TEST_HOST_PORT TEST_VOLUME=$NODE/volume TEST_SUBNET=10.91.0.
TEST_IMAGE=$demo_image TEST_LOG_ROOT=$NODE/pod-logs "$NODE_BUILD/bin/e2e-fields" || fail "e2e-fields"
# No request that was refused has left a network.
grep -q "can't be taken down" "$NODE/logs/runtime.log" && fail "a network was left"
ip link del gi-fields0
