#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gpu-isolated-preflight on made-up hosts: a plain one, a good one, one whose
# GPU shares its IOMMU group.
#   preflight.sh SOURCE-FOLDER
set -euo pipefail
preflight=$1/deploy/gpu-isolated-preflight
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $1"; cat "$work/out"; exit 1; }
check() { # EXPECTED-STATUS ARGS...
    local expected=$1 rc=0
    shift
    PREFLIGHT_SYSROOT=$work/host PATH=$work/bin:$PATH "$preflight" "$@" >"$work/out" 2>&1 || rc=$?
    [ "$rc" -eq "$expected" ] || fail "status $rc, expected $expected"
}
says() { grep -q -- "$1" "$work/out" || fail "it does not say: $1"; }

mkdir -p "$work/host" "$work/bin"
printf '#!/bin/sh\nexit 1\n' >"$work/bin/xl"
chmod +x "$work/bin/xl"
check 1
says "Xen is not running"
says "boot its menu entry"
check 2 --nonsense

host=$work/host
mkdir -p "$host"/{sys/hypervisor,proc/xen,dev/xen,sys/module/{xen_blkback,xen_netback,loop}}
echo xen >"$host/sys/hypervisor/type"
echo control_d >"$host/proc/xen/capabilities"
touch "$host"/dev/xen/{evtchn,gntdev,gntalloc,privcmd} "$work"/{kernel,root}
printf '#!/bin/sh\n' | tee "$work/bin/mkfs.erofs" >"$work/bin/mkfs.ext4"
chmod +x "$work"/bin/mkfs.*
cat >"$work/bin/xl" <<'XL'
#!/bin/sh
case "$1" in
info)
    echo "virt_caps              : pv hvm hap gnttab-v1"
    echo "xen_commandline        : dom0_mem=4G gnttab_max_frames=256"
    ;;
dmesg) echo "(XEN) I/O virtualisation enabled" ;;
esac
XL
check 0 --kernel "$work/kernel" --root "$work/root"
says "ok    Xen runs"
says "grant frames per domain: 256"
says "ok    mkfs.ext4"

gpu=0000:01:00.0
mkdir -p "$host/sys/bus/pci/devices/$gpu" "$host/sys/bus/pci/devices/0000:02:00.0" \
    "$host/sys/kernel/iommu_groups/7/devices/$gpu" "$host/sys/bus/pci/drivers/pciback"
ln -s ../../../../kernel/iommu_groups/7 "$host/sys/bus/pci/devices/$gpu/iommu_group"
ln -s ../../drivers/pciback "$host/sys/bus/pci/devices/$gpu/driver"
files=(--kernel "$work/kernel" --root "$work/root" --driver-kernel "$work/kernel" --driver-root "$work/root")
check 1 "${files[@]}" --gpu $gpu
says "there is no qemu-system-xen"
mkdir -p "$host/usr/libexec"
printf '#!/bin/sh\n' >"$host/usr/libexec/xen-qemu-system-i386"
chmod +x "$host/usr/libexec/xen-qemu-system-i386"
check 0 "${files[@]}" --gpu $gpu
says "ok    $gpu is kept for domains"
# Its sound function is driven by dom0.
mkdir -p "$host/sys/bus/pci/devices/${gpu%.0}.1" "$host/sys/bus/pci/drivers/snd_hda_intel"
ln -s ../../drivers/snd_hda_intel "$host/sys/bus/pci/devices/${gpu%.0}.1/driver"
check 1 "${files[@]}" --gpu $gpu
says "WRONG ${gpu%.0}.1 is bound to snd_hda_intel"
rm -r "$host/sys/bus/pci/devices/${gpu%.0}.1"
mkdir "$host/sys/kernel/iommu_groups/7/devices/0000:02:00.0"
echo 0x020000 >"$host/sys/bus/pci/devices/0000:02:00.0/class"
check 1 "${files[@]}" --gpu $gpu
says "0000:02:00.0 shares the GPU's IOMMU group 7"
rm "$host/sys/bus/pci/devices/$gpu/iommu_group"
check 0 "${files[@]}" --gpu $gpu
says "boot this host without Xen once"
check 1 "${files[@]}" --gpu 0000:09:00.0
says "there is no PCI device"
check 1 --kernel "$work/kernel" --root "$work/root" --gpu $gpu --driver-root "$work/none"
says "none is not there"
echo "ok"
