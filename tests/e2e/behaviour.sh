#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What kubelet and crictl rely on: test_behaviour.c and test_mounts.c against a node of this build.
#   behaviour.sh BUILD
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
trap node_trap EXIT
node_begin "$1"
start_registry
push_demo
push_other
start_proxy
start_runtime 30
gpuictl pull "$demo_image" >/dev/null
gpuictl pull "$other_image" >/dev/null
export TEST_IMAGE=$demo_image TEST_OTHER_IMAGE=$other_image TEST_LOG_ROOT=$NODE/pod-logs
"$NODE_BUILD/bin/e2e-behaviour"
"$NODE_BUILD/bin/e2e-mounts"
