#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a node on emulated processors runs, as it is shipped: sanitizers would
# take twice the time there. (xen-driver has them.)
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" --target gpu-isolated-runtime gpu-isolated-agent gpu-proxy gpuctl gpuictl gi-push gpu-demo \
    zone-rootfs xen-hostile xen-liar idm-program e2e-behaviour e2e-mounts e2e-methods e2e-streams e2e-fields -- --no-print-directory -s
