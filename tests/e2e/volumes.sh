#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The host's files in pods that do not see the host: what xen-node shows on Xen
# (tests/xen/steps/volumes.sh), here in zones of the local driver.
#   volumes.sh BUILD
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
trap node_trap EXIT
node_begin "$1"
start_registry
push_demo
start_proxy
write_config
sed -i 's/"machine_driver": "local",/&\n  "host_files": "copied",/' "$NODE/etc/config.json"
start_runtime 30
gpuictl pull "$demo_image" >/dev/null
# What the step needs.
scratch=$NODE/tmp-volumes image=$demo_image
mkdir "$scratch"
fail() { node_fail "$*" "$NODE/logs/runtime.log" || exit 1; }
run() { gpuictl run -q "$@" </dev/null; }
until_ok() { wait_for "$@" >/dev/null 2>&1; }
# shellcheck source=tests/xen/steps/volumes.sh
. "$(dirname "$0")/../xen/steps/volumes.sh"
# What can't be, and why.
plain=$scratch/plain
mkdir "$plain"
refused() { # TEXT OPTIONS...
    local text=$1
    shift
    ! run --name refused "$@" "$image" -- /bin/true >"$scratch/refused" 2>&1 || fail "$*: not refused"
    grep -q "$text" "$scratch/refused" || fail "$*: $(cat "$scratch/refused")"
}
refused "can't write to it" --mount "$plain:/plain"
ln -s /etc "$plain/link"
refused "link is a link" --mount "$plain:/plain:ro"
refused "neither a file nor a folder" --mount "/dev/null:/x:ro"
# What can't be copied any more is said by its name, and the old text stays.
echo good >"$plain.file"
run -d --name late --mount "$plain.file:/x:ro" "$image" -- /bin/sleep 1000 >/dev/null
rm "$plain.file"
mkfifo "$plain.file"
said() {
    grep "does not get to a container" "$NODE/logs/runtime.log" |
        grep -q "$plain.file.*neither a file nor a folder"
}
until_ok 20 said || fail "a volume that became a pipe: $(tail -3 "$NODE/logs/runtime.log")"
[ "$(gpuictl exec late -- /bin/sh -c 'cat /x')" = good ] || fail "the old text is gone"
gpuictl rm -f late
rm -r "$scratch"
echo PASS
