#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a test once more if a processor that QEMU emulates failed under it: now and
# then (about once in ten minutes of busy PVH domains, more on a busy machine) QEMU
# 7.2's SVM goes on in a guest with the hypervisor's own instruction pointer, which
# Xen reports as the guest's triple fault. No other failure is tried again.
#   again.sh LOG COMMAND...      LOG: the node's console
set -euo pipefail
log=$1
shift
"$@" || {
    rc=$?
    grep -a 'Triple fault' "$log" || exit "$rc"
    echo "an emulated processor failed; once more"
    "$@"
}
