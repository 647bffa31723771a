#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A script in the dom0 of real Xen, on a node of our own (stage.sh).
#   test-node.sh BUILD-FOLDER SCRIPT LOG [run.sh's options...]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/e2e/lib.sh
. "$here/../e2e/lib.sh"
# shellcheck source=tests/xen/stage.sh
. "$here/stage.sh"
finish() {
    local rc=$?
    trap - EXIT
    stage_end || rc=1
    exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT TERM
stage_node "$1"
"$here/../xen-node/run.sh" --cmd "$2" --log "$3" --timeout 400 --memory 3584 --add "$STAGE/node:/" "${@:4}"
