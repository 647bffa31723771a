# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# The driver domain as an HVM domain, as a real GPU needs it; here with the simulated one.
gpu_domain_is() { # TYPE
    xl list -l 'gi-@gpu' 2>/dev/null | grep -q "\"type\": \"$1\"" && proxy_stats
}
# A driver domain is found again as it is: another type needs another one.
other_config() { # FILE TYPE
    kill_runtime
    cp "$1" /run/gi/config.json
    xl destroy 'gi-@gpu'
    start_runtime
    until_ok 150 gpu_domain_is "$2" || fail "no driver domain of type $2"
}
cp /run/gi/config.json /run/gi/pvh.json
sed 's|"machine_driver": "xen"|&, "xen_gpu_type": "hvm", "xen_gpu_kernel": "/node/vmlinuz"|' /run/gi/pvh.json >/run/gi/hvm.json
other_config /run/gi/hvm.json hvm
run --keep --name hvm --gpu-memory 64Mi "$image" -- /bin/gpu-demo --brief -n 2000 >/run/gi/a 2>&1 || fail "HVM: $(cat /run/gi/a)"
grep -q "agree with the CPU's" /run/gi/a || fail "no results: $(cat /run/gi/a)"
gpuictl rm -f hvm
other_config /run/gi/pvh.json pvh

# What the configuration can't mean is said by its key.
refused() { # TEXT KEYS
    sed "s|\"machine_driver\": \"xen\"|&, $2|; s|\"/run/gi\"|\"$scratch\"|; s|/var/lib/gi|$scratch/state|" /run/gi/pvh.json >/run/gi/bad.json
    ! timeout 60 gpu-isolated-runtime --config /run/gi/bad.json >/run/gi/a 2>&1 || fail "taken: $2"
    grep -q "$1" /run/gi/a || fail "$2: $(cat /run/gi/a)"
}
refused 'xen_gpu_devices: .*01:00.0.* is no PCI address' '"xen_gpu_devices": ["01:00.0"]'
refused 'xen_gpu_kernel: an HVM driver domain needs one' '"xen_gpu_devices": ["0000:01:00.0"]'
refused 'only an HVM domain gets xen_gpu_devices' '"xen_gpu_devices": ["0000:01:00.0"], "xen_gpu_type": "pvh"'
rm -rf "$scratch/state"
