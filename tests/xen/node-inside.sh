#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC1090,SC2013,SC2034,SC2154
# In dom0: one node goes through the steps of tests/xen/steps, in the order that
# /node/steps/order names (test-node.sh; "step:3" gives one its number). After each of
# them nothing is left over.
set -e
mkdir -p /run/gi
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
start_node /run/gi/before
for word in $(cat /node/steps/order); do
    step=${word%%:*} arg=${word#"${word%%:*}"}
    began=$(now)
    echo "== $step"
    . "/node/steps/$step.sh"
    gpuictl rm -f --all >/dev/null 2>&1 || fail "$step: rm"
    until_ok 60 settle /run/gi/before || fail "$step: left over: $(diff /run/gi/before /run/gi/now)"
    echo "== $step: $(awk "BEGIN { printf \"%.0f\", $(now) - $began }") s"
done
echo "the same as before: $(tr '\n' ';' </run/gi/now)"
echo "PASS"
