# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# The driver domain dies: its client hears of it, another comes up, new pods work.
run -d --keep --name user --gpu-memory 64Mi "$image" -- /bin/sh -c \
    'while /bin/gpu-demo --brief -n 2000 >/dev/null 2>/tmp/why; do echo once; done; cat /tmp/why; echo the GPU is gone' >/dev/null
busy() { gpuictl logs user | grep -q once; }
until_ok 30 busy || fail "it does not use the GPU: $(gpuictl logs user)"
old=$(xl domid gi-@gpu)
xl destroy gi-@gpu
heard() { gpuictl logs user | grep -q "the GPU is gone"; }
until_ok 60 heard || fail "its client heard nothing: $(gpuictl logs user)"
gpuictl logs user | tail -n 2
another() { [ "$(xl domid gi-@gpu 2>/dev/null || echo "$old")" != "$old" ] && proxy_stats; }
until_ok 60 another || fail "no new driver domain"
run --name after --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 || fail "a new pod: $(cat /run/gi/a)"

# A runtime that is to end does not wait for a driver domain that boots: the next one does.
gpuictl rm -f --all >/dev/null 2>&1 || fail "rm"
xl destroy gi-@gpu
boots() { xl domid gi-@gpu; }
until_ok 60 boots || fail "no driver domain is built"
kill -TERM "$(cat /run/gi/pid)"
until_ok 30 runtime_ended || fail "the runtime waits for the driver domain"
start_runtime
until_ok 90 proxy_stats || fail "no driver domain after that"
