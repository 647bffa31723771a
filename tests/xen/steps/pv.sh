# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# The same as PV domains, as on a host without hardware virtualization.
kill_runtime
sed 's/"machine_driver": "xen"/&,\n  "xen_zone_type": "pv"/' /run/gi/config.json >/run/gi/pv.json
cp /run/gi/config.json /run/gi/pvh.json
cp /run/gi/pv.json /run/gi/config.json
start_runtime
run --keep --name pv --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 || fail "PV: $(cat /run/gi/a)"
grep -q "agree with the CPU's" /run/gi/a || fail "no results: $(cat /run/gi/a)"
gpuictl --json console pv | grep -q '"kind": "PV domain"' || fail "it is none: $(gpuictl --json console pv)"
gpuictl rm -f pv

# The program that tests/idm compares with the driver; managed memory is the arena at one address in both domains. As a PV
# domain, because its thousands of interrupts are what QEMU's emulation of SVM fails at (tests/xen-node/again.sh).
run --gpu --gpu-memory 256Mi --name calls "$image" -- /bin/idm-program libcuda.so.1 >/run/gi/said ||
    fail "idm-program: $(tail -n 20 /run/gi/said)"
grep -q 'cuMemAllocManaged(.*CU_MEM_ATTACH_GLOBAL): 0$' /run/gi/said || fail "managed memory: $(grep Managed /run/gi/said)"
echo "$(wc -l </run/gi/said) lines of calls and results, managed memory among them"
kill_runtime
cp /run/gi/pvh.json /run/gi/config.json
start_runtime
