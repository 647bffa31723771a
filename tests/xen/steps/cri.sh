# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# CRI as its clients see it: the suites that tests/e2e runs against the local driver. The
# step's word is one of them; none: all. The pods are PV domains: QEMU's emulated processors
# now and then fail those that use hardware virtualization (tests/xen-node/again.sh), and what
# a suite asks is the same of both.
sed -i 's/  "machine_driver": "xen",/&\n  "xen_zone_type": "pv",/' /run/gi/config.json
kill_runtime
start_runtime
mkdir -p "$scratch/volume"
export TEST_IMAGE=$image TEST_LOG_ROOT=$GPUICTL_LOG_ROOT TEST_MACHINE=xen TEST_VOLUME=$scratch/volume
export TEST_SUBNET=10.90.0. TEST_CGROUP_PARENT=/pods TEST_HOST_PORT=8080
export TEST_OTHER_IMAGE=${image%/*}/other:1
for name in "${image%:1}:second" "$TEST_OTHER_IMAGE"; do
    gpuictl pull -q "$name" >/dev/null || fail "pull $name"
done
for suite in ${arg:-behaviour mounts methods streams fields}; do
    "e2e-$suite" >"$scratch/out" 2>&1 || fail "e2e-$suite: $(grep -v 'RUN\|OK' "$scratch/out")"
    echo "e2e-$suite: $(grep -c '  OK ' "$scratch/out") passed, $(grep -c 'SKIPPED \] [a-z_]*$' "$scratch/out") skipped"
done
gpuictl pull -q "$image" >/dev/null || fail "pull again" # a suite may have removed it
rm -r "$scratch/volume" "$scratch/out"
sed -i '/xen_zone_type/d' /run/gi/config.json
kill_runtime
start_runtime
