# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034,SC2086
# CRI as its clients see it: the suites that tests/e2e runs against the local driver. The
# step's word is one of them; none: all. The pods are PV domains: QEMU's emulated processors
# now and then fail those that use hardware virtualization (tests/xen-node/again.sh), and what
# a suite asks is the same of both.
sed -i 's/  "machine_driver": "xen",/&\n  "xen_zone_type": "pv",/' /run/gi/config.json
kill_runtime
start_runtime
cri_suites xen ${arg:-}
sed -i '/xen_zone_type/d' /run/gi/config.json
kill_runtime
start_runtime
