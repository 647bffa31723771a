#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2013
# In dom0: one node goes through the steps of tests/xen/steps, in the order that
# /node/steps/order names (test-node.sh; "step:3" gives one its number). After each of
# them nothing is left over.
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
start_node /run/gi/before
cp /run/gi/config.json /run/gi/config.first
# Guests that QEMU's emulation let down so far (tests/xen-node/again.sh).
faults() { xl dmesg | grep -c 'Triple fault' || true; }
for word in $(cat /node/steps/order); do
    step=${word%%:*} arg=${word#"${word%%:*}"}
    began=$(now)
    echo "== $step"
    tries=1 had=$(faults)
    until /node/attempt.sh "$step" "${arg#:}"; do
        # Some hosts' emulation fails at every second pod that is busy with calls.
        [ "$(faults)" != "$had" ] && [ $tries -lt 12 ] || exit 1
        echo "== $step: an emulated processor failed; once more"
        tries=$((tries + 1)) had=$(faults)
        # A step that was cut may have left its own configuration and files.
        rm -rf "$scratch"
        if ! cmp -s /run/gi/config.first /run/gi/config.json; then
            ! running || kill_runtime
            cp /run/gi/config.first /run/gi/config.json
        fi
        running || start_runtime
        gpuictl rm -f --all >/dev/null 2>&1 || true
        gpuictl pull -q "$image" >/dev/null || fail "pull after a fault"
        until_ok 90 proxy_stats || fail "no gpu-proxy after a fault"
    done
    echo "== $step: $(awk "BEGIN { printf \"%.0f\", $(now) - $began }") s"
done
echo "the same as before: $(tr '\n' ';' </run/gi/now)"
echo "PASS"
