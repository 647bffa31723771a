# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# A pod of its own kernel; pods reach each other and are reached from the host; a GPU in another domain.
run --keep --name first "$image" -- /bin/sh -c \
    'echo "a pod of its own kernel: $(cat /proc/version)"; cat /etc/hostname; id' \
    >/run/gi/said || fail "run: $(cat /run/gi/said)"
cat /run/gi/said
grep -q "a pod of its own kernel: .*-zone" /run/gi/said || fail "it is not the zone's kernel"
grep -q '^first$' /run/gi/said || fail "the host name is not the pod's"

gpuictl --json console first | grep -q '"kind": "PVH domain"' || fail "what it is: $(gpuictl --json console first)"

run -d --keep --name web "$image" -- /bin/busybox httpd -f -p 8080 -h /etc >/dev/null || fail "web"
ip=$(gpuictl --json inspect web | sed -n 's/.*"ip": *"\(10\.90[0-9.]*\)".*/\1/p' | head -n 1)
ip6=$(gpuictl --json inspect web | sed -n 's/.*"ip": *"\(fd00:[0-9a-f:]*\)".*/\1/p' | head -n 1)
until_ok 10 wget -qO /run/gi/said "http://$ip:8080/hostname" || fail "the pod at \"$ip\" does not answer the host"
[ "$(cat /run/gi/said)" = web ] || fail "another answers at $ip"
run --name client "$image" -- /bin/sh -c "/bin/busybox wget -qO- http://$ip:8080/hostname &&
    /bin/busybox wget -qO- http://[$ip6]:8080/hostname" >/run/gi/said || fail "from pod to pod: $(cat /run/gi/said)"
[ "$(tr '\n' ' ' </run/gi/said)" = "web web " ] || fail "from pod to pod: $(cat /run/gi/said)"
echo "the pod answers at $ip and $ip6, the host and another pod"

launches() { proxy_stats --json | sed -n 's/.*"launches": *\([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'; }
run --keep --gpu --gpu-memory 64Mi --name gpu "$image" -- /bin/gpu-demo -n 20000 >/run/gi/said ||
    fail "GPU pod: $(cat /run/gi/said; proxy_stats)"
cat /run/gi/said
grep -q "agree with the CPU's" /run/gi/said || fail "no results"
proxy_stats
[ "$(launches)" = 6 ] || fail "gpu-proxy counted $(launches) launches, not 6"
xl list
