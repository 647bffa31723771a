# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# A container that takes more memory than it has.
rc=0
run --keep --name hungry --memory 96Mi "$image" -- /bin/busybox dd if=/dev/zero of=/dev/null bs=110M count=1 || rc=$?
[ $rc = 137 ] || fail "it ended with $rc, not 137"
hungry=$(gpuictl ps --all | awk '$2 == "hungry" { print $1; exit }')
gpuictl inspect "$hungry" | grep -q OOMKilled || fail "the reason: $(gpuictl inspect "$hungry" | grep -i reason)"
