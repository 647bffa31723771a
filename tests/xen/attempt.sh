#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC1090,SC2034
# In dom0: one step of node-inside.sh, and that nothing is left over.
#   attempt.sh STEP [NUMBER]
set -e
# shellcheck source=tests/xen/node-lib.sh
. /node/node-lib.sh
step=$1 arg=${2:-}
. "/node/steps/$step.sh"
gpuictl rm -f --all >/dev/null 2>&1 || fail "$step: rm"
until_ok 60 settle /run/gi/before || fail "$step: left over: $(diff /run/gi/before /run/gi/now)"
