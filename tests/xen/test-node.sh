#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A script in the dom0 of real Xen, on a node of our own (stage.sh).
#   test-node.sh BUILD-FOLDER SCRIPT LOG [--keep] [--outside] [--hvm] [--steps "A B"] [run.sh's options...]
# While it runs, the node's CRI socket is $BUILD-FOLDER/xen-node.sock.
# --keep: it stays up when the script has succeeded, until the script is interrupted.
# --steps: for node-inside.sh, which of tests/xen/steps, in which order.
# --hvm: with the kernel of a driver domain that is an HVM domain, which is built first if need be.
# --outside: fails unless gpuictl could see the node's images through that socket.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/e2e/lib.sh
. "$here/../e2e/lib.sh"
# shellcheck source=tests/xen/stage.sh
. "$here/stage.sh"
see_image() { # BUILD IMAGE
    timeout 10 "$1/bin/gpuictl" images | grep -qF "$2"
}
socat_pid=
finish() {
    local rc=$?
    trap - EXIT
    end_process "$socat_pid"
    rm -f "$socket"
    stage_end || rc=1
    exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT TERM
socket=$(realpath "$1")/xen-node.sock
build=$1 script=$2 log=$3 options=() limit=2400 steps=''
shift 3
while [ $# -gt 0 ]; do
    case "$1" in
    --keep) keep=1 limit=86400 ;;
    --outside) outside=1 ;;
    --hvm) hvm=1 ;;
    --steps) steps=$2 && shift ;;
    *) options+=("$1") ;;
    esac
    shift
done
stage_node "$build"
[ -z "${hvm:-}" ] || cp "$("$here/../../guest-image/kernel/build.sh" --driver)/vmlinuz" "$STAGE/node/"
echo "$steps" >"$STAGE/node/steps/order"
[ -z "${keep:-}" ] || echo "unix://$socket" >"$STAGE/node/keep"
# The socket's two halves: this one, and node-lib.sh's in dom0.
port=$(free_port)
rm -f "$socket"
socat "UNIX-LISTEN:$socket,fork,mode=0600" "TCP:127.0.0.1:$port" 2>/dev/null &
socat_pid=$!
[ -z "${outside:-}" ] || {
    CONTAINER_RUNTIME_ENDPOINT=unix://$socket wait_for 300 see_image "$build" "$demo_image" && touch "$NODE/seen"
} &
"$here/../xen-node/run.sh" --cmd "$script" --log "$log" --timeout "$limit" --memory 3584 --add "$STAGE/node:/" \
    --forward "$port:7000" ${options[@]+"${options[@]}"}
[ -z "${outside:-}" ] || [ -e "$NODE/seen" ] || { echo "FAIL: the CRI socket did not answer here" && exit 1; }
