#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Pod networks by Debian's CNI plugins, on a node in a network namespace of its
# own: addresses, pods and host reach each other, host ports, restart, nothing left.
#   network.sh BUILD
set -euo pipefail
if [ -z "${NETWORK_SH_INSIDE:-}" ]; then
    NETWORK_SH_INSIDE=1 exec unshare --net -- "$0" "$@"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
for tool in /usr/lib/cni/bridge /usr/sbin/iptables /usr/sbin/ip; do
    [ -x "$tool" ] || { echo "needs $tool (containernetworking-plugins, iptables, iproute2)"; exit 77; }
done
trap node_trap EXIT
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
node_begin "$1"
NODE_NETWORK=cni
start_registry
push_demo
start_proxy
mkdir -p "$NODE/etc/net.d"
write_config
sed -i "s,\"cni_conf_dir\",\"cni_bin_dirs\": [\"$NODE/plugins\"\, \"/usr/lib/cni\"]\,\n  &," "$NODE/etc/config.json"
start_runtime 30

condition() { gpuictl --json status | tr -d ' \n' | grep -o '"type":"NetworkReady","status":[a-z]*'; }

say "without a configuration the network is not ready"
condition | grep -q false || fail "NetworkReady without a configuration: $(condition)"
gpuictl pull -q "$demo_image" >/dev/null
if gpuictl run -q "$demo_image" /bin/true >/dev/null 2>"$NODE/err"; then
    fail "a pod without a network was made"
fi
grep -q "network is not ready" "$NODE/err" || fail "the reason is missing: $(cat "$NODE/err")"

say "a configuration that comes later counts"
cat >"$NODE/etc/net.d/10-test.conflist" <<CONF
{"cniVersion": "1.0.0", "name": "testnet", "plugins": [
  {"type": "bridge", "bridge": "gi-test0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$NODE/ipam",
            "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd88::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CONF
condition | grep -q true || fail "not ready with a configuration: $(condition)"

# CONTAINER -> the pod's field of its status
pod_of() { gpuictl --json inspect "$1" | sed -n 's/.*sandboxID[\\": ]*\(gi-[0-9a-f]*\).*/\1/p' | head -n 1; }
address() { gpuictl --json inspect "$(pod_of "$1")" | sed -n 's/^ *"ip": "\([^"]*\)".*/\1/p' | sed -n "$2p"; }
server=$(gpuictl run -q -d --name server "$demo_image" /bin/sh -c \
    'echo pong >/tmp/index.html; exec busybox httpd -f -p 7000 -h /tmp')
client=$(gpuictl run -q -d --name client "$demo_image" /bin/sleep 1000)
ip=$(address "$server" 1)
ip6=$(address "$server" 2)
[[ $ip == 10.88.0.* ]] || fail "the pod's address is \"$ip\""
[[ $ip6 == fd88::* ]] || fail "the pod's second address is \"$ip6\""

say "pods and the host reach each other"
# shellcheck disable=SC2016
reach() {
    timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"
        printf "GET /index.html HTTP/1.0\r\n\r\n" >&3
        cat <&3' "$1" "$2" 2>/dev/null | grep -q '^pong'
}
wait_for 20 reach "$ip" 7000 || fail "the host can't reach the pod at $ip"
wait_for 20 reach "$ip6" 7000 || fail "the host can't reach the pod at $ip6"
got=$(gpuictl exec "$client" -- /bin/sh -c \
    "printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 5 $ip 7000 | tail -n 1")
expect_equal pong "$got" "what the client pod got from the server pod"
got=$(gpuictl exec "$server" -- /bin/cat /etc/hosts | grep -c "^$ip")
expect_equal 1 "$got" "lines with the pod's address in its /etc/hosts"
gpuictl exec "$client" -- /bin/busybox ping -c 1 -W 3 10.88.0.1 >/dev/null || fail "no way to the gateway"

say "what went over it is told"
TEST_IMAGE=$demo_image TEST_LOG_ROOT=$NODE/pod-logs "$NODE_BUILD/bin/e2e-network-stats" \
    "$(pod_of "$server")" || fail "the pod's statistics lack its network"

say "after kill -9 of the runtime the network is as it was"
kill_runtime
reach "$ip" 7000 || fail "the pod is not reachable without the runtime"
start_runtime 30
expect_equal "$ip" "$(address "$server" 1)" "address after a restart"
reach "$ip" 7000 || fail "the pod is not reachable after a restart"

say "a network that a failed pod leaves is taken down when that works"
mkdir "$NODE/plugins"
cat >"$NODE/plugins/moody" <<PLUGIN
#!/bin/sh
[ ! -e "$NODE/moody" ] || [ "\$CNI_COMMAND" = VERSION ] || exit 1
sed 's/.*"prevResult": *\({.*}\)}\$/\1/'
PLUGIN
chmod +x "$NODE/plugins/moody"
sed -i 's/^  {"type": "portmap".*/  {"type": "moody"}]}/' "$NODE/etc/net.d/10-test.conflist"
leases() { find "$NODE/ipam/testnet" -name '10.*' | wc -l; }
had=$(leases)
touch "$NODE/moody"
if gpuictl run -q -d --name moody "$demo_image" /bin/sleep 1000 >/dev/null 2>&1; then
    fail "a pod whose plugin fails was made"
fi
[ "$(leases)" -gt "$had" ] || fail "no address was left: there is nothing to show"
rm "$NODE/moody"
back() { [ "$(leases)" -eq "$had" ] && [ "$(find "$NODE/run/netns" -mindepth 1 | wc -l)" -eq 2 ]; }
wait_for 30 back || fail "$(leases) addresses, not $had, and $(ls "$NODE/run/netns")"
gpuictl run -q "$demo_image" /bin/true || fail "no pod with the plugin in a good mood"

say "configurations of older versions of CNI"
for version in 0.3.1 0.4.0; do
    sed -i "s/\"cniVersion\": \"[0-9.]*\"/\"cniVersion\": \"$version\"/
        s/^  {\"type\": \"moody\"}/  {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}/" \
        "$NODE/etc/net.d/10-test.conflist"
    had=$(leases)
    old=$(gpuictl run -q -d --name "old-$version" "$demo_image" /bin/sh -c \
        'echo pong >/tmp/index.html; exec busybox httpd -f -p 7000 -h /tmp')
    wait_for 20 reach "$(address "$old" 1)" 7000 || fail "CNI $version: the pod at $(address "$old" 1) is not reached"
    wait_for 20 reach "$(address "$old" 2)" 7000 || fail "CNI $version: the pod at $(address "$old" 2) is not reached"
    expect_equal $((had + 1)) "$(leases)" "addresses with CNI $version"
    kill_runtime
    start_runtime 30
    gpuictl rm -f "old-$version" >/dev/null || fail "CNI $version: rm"
    expect_equal "$had" "$(leases)" "addresses after the end of CNI $version's pod"
done

say "nothing is left"
gpuictl rm -f --all >/dev/null
expect_equal "" "$(find "$NODE/run/netns" -mindepth 1)" "namespaces"
expect_equal "" "$(find "$NODE/ipam/testnet" -name '10.*' -o -name 'fd88*')" "leased addresses"
expect_equal "" "$(ip -o link show type veth)" "veth interfaces"
expect_equal "" "$(iptables-save -t nat | grep CNI- | grep -v '^:' || true)" "iptables rules of pods"
ip link del gi-test0
say "done"
