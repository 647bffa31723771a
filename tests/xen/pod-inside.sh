#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016
# In dom0: pods through CRI that are domains, one of them with a GPU that is in
# another domain.
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
start_registry
start_runtime
start=$(now)
gpuictl pull "$image" >/dev/null || fail "pull"
pulled=$(now)
gpuictl run --keep --name first "$image" -- /bin/sh -c \
    'echo "a pod of its own kernel: $(cat /proc/version)"; cat /etc/hostname; id' \
    >/run/gi/said || fail "run: $(cat /run/gi/said)"
cat /run/gi/said
echo "pulled from $start to $pulled, pod and container until $(now)"
grep -q "a pod of its own kernel: .*-zone" /run/gi/said || fail "it is not the zone's kernel"
grep -q '^first$' /run/gi/said || fail "the host name is not the pod's"

until_ok 60 proxy_stats || fail "no gpu-proxy in a driver domain"
gpuictl run --keep --gpu --gpu-memory 64Mi --name gpu "$image" -- /bin/gpu-demo -n 20000 >/run/gi/said ||
    fail "GPU pod: $(cat /run/gi/said; proxy_stats)"
cat /run/gi/said
grep -q "agree with the CPU's" /run/gi/said || fail "no results"
proxy_stats
proxy_stats --json | grep -q '"launches": *6' || fail "gpu-proxy counted other launches than 6"
xl list
gpuictl rm -f --all || fail "rm"
[ "$(domains)" = 2 ] || fail "a pod's domain is left"
echo "PASS"
