# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# A pod writes more than its memory has, but no more than its quota (64Mi, node-lib.sh).
held() { df -k /var/lib | awk 'NR == 2 { print $3 }'; }
before=$(held)
run -d --keep --memory 24Mi --name writer "$image" -- /bin/sleep 600 >/dev/null
gpuictl exec writer -- /bin/busybox dd if=/dev/zero of=/data bs=1M count=40 2>/run/gi/said || fail "40 MiB: $(cat /run/gi/said)"
during=$(held)
[ $((during - before)) -ge 36000 ] || fail "it is not on the host's disk: $before, then $during KiB"
! gpuictl exec writer -- /bin/busybox dd if=/dev/zero of=/more bs=1M count=40 2>/run/gi/said || fail "80 MiB fit into 64"
grep -q "No space left" /run/gi/said || fail "its reason: $(cat /run/gi/said)"
gpuictl exec writer -- /bin/busybox sh -c 'rm /more; echo kept >/small; cat /small' | grep -q kept || fail "nothing fits any more"
gpuictl rm -f writer || fail "rm writer"
given_back() { [ $(($(held) - before)) -lt 4000 ]; }
until_ok 20 given_back || fail "the host does not get it back: $before, then $(held) KiB"
