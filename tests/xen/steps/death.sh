# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# A domain that is destroyed under its pod, and one whose kernel panics.
ended() { gpuictl ps --all | grep "$1" | grep -qi -e exited -e notready; }
run -d --keep --name victim "$image" -- /bin/sleep 600 >/dev/null
xl destroy "$(xl list | awk '/gi-gi-/ {print $2}')"
until_ok 30 ended victim || fail "nobody noticed: $(gpuictl ps --all)"
gpuictl rm -f victim

# Its own doing: a privileged container may tell its kernel to panic.
run -d --keep --privileged --memory 96Mi --name panics "$image" -- /bin/sh -c \
    'echo 2 >/proc/sys/vm/panic_on_oom; exec /bin/busybox dd if=/dev/zero of=/dev/null bs=110M count=1' >/dev/null
until_ok 60 ended panics || fail "nobody noticed the panic: $(gpuictl ps --all; xl list)"
id=$(gpuictl ps --all | awk '$2 == "panics" { print $1; exit }')
gpuictl inspect "$id" | grep -q "Kernel panic" || fail "it does not say why: $(gpuictl inspect "$id")"
gpuictl inspect "$id" | grep '"message"'
