#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes what a Xen host boots from: the hypervisor, a dom0 kernel and a dom0
# initramfs, all from Debian 12 packages. Prints the folder that has them
# (xen, vmlinux, dom0.cpio); made once, kept under the hash of its inputs.
#   make-dom0.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/xen-node/debs.sh
. "$here/debs.sh"

need_commands apt-get:apt cpio:cpio depmod:kmod busybox:busybox-static xz:xz-utils flock:util-linux iptables:iptables \
    /usr/libexec/xen-qemu-system-i386:qemu-system-xen
[ -e /usr/include/libxl.h ] || skip "needs the Debian package libxen-dev"

kernel=$(deb_dependency linux-image-amd64 'linux-image-6\.1\.0-[0-9]*-amd64')
[ -n "$kernel" ] || skip "apt knows no linux-image-amd64 6.1 (apt-get update?)"
packages=()
for name in xen-hypervisor-4.17-amd64 xen-utils-4.17 xen-utils-common xenstore-utils "$kernel"; do
    spec=$(deb_candidate "$name")
    [ -n "$spec" ] || skip "apt knows no package $name (apt-get update?)"
    packages+=("$spec")
done
# What comes from this machine: busybox, bash, tools and the libraries they load.
tools=(/bin/busybox /bin/bash /sbin/losetup /sbin/ip /usr/bin/flock /usr/bin/stat /sbin/tc /usr/bin/nsenter)
host=$(dpkg-query -W -f '${Package}=${Version}\n' libc6 libxenmisc4.17 busybox-static bash mount \
    iproute2 util-linux coreutils iptables qemu-system-xen qemu-system-data seabios)
key=$({
    printf '%s\n' "${packages[@]}" "$host"
    cat "$here/make-dom0.sh" "$here/debs.sh" "$here/dom0-init"
} | sha256sum | cut -c1-16)
made=$(xen_cache)/dom0-$key
if [ -e "$made/dom0.cpio" ]; then
    echo "$made"
    exit 0
fi

mkdir -p "$(xen_cache)"
# One maker at a time; who waited finds it made.
exec 9>"$(xen_cache)/dom0.lock"
flock 9
if [ -e "$made/dom0.cpio" ]; then
    echo "$made"
    exit 0
fi
work=$(mktemp -d "$(xen_cache)/dom0-making-XXXXXX")
trap 'rm -rf "$work"' EXIT
deb_unpack "$work/debs" "${packages[@]}"
version=${kernel#linux-image-}
root=$work/root
mkdir -p "$root"/{bin,sbin,dev,proc,sys,run,tmp,etc/xen,var/lock,var/log/xen/console,var/lib/xen,node} \
    "$root"/{usr/bin,usr/sbin,lib,lib64,usr/lib}
ln -s ../run "$root/var/run"

# A file and all shared libraries it loads, at the same paths.
declare -A have=()
take() { # FILE [PATH-INSIDE]
    local file=$1 inside=${2:-$1} lib
    [ -n "${have[$inside]:-}" ] && return 0
    have[$inside]=1
    install -D -m "$(stat -L -c %a "$file")" "$file" "$root$inside"
    while read -r lib; do
        take "$lib"
    done < <(ldd "$file" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' || true)
}
for file in "${tools[@]}"; do
    take "$(readlink -f "$file")" "$file"
done
# For host ports, with the extensions that iptables loads.
for file in /usr/sbin/iptables /usr/sbin/ip6tables; do
    take /usr/sbin/xtables-nft-multi "$file"
done
mkdir -p "$root/usr/lib/x86_64-linux-gnu"
cp -a /usr/lib/x86_64-linux-gnu/xtables "$root/usr/lib/x86_64-linux-gnu/"
# pthread_cancel loads it by name: ldd doesn't see it.
take /lib/x86_64-linux-gnu/libgcc_s.so.1
for name in xl xenstored xenconsoled xenconsole xen-init-dom0 libxl-save-helper lsevtchn xen-diag \
    vchan-socket-proxy; do
    take "$work/debs/usr/lib/xen-4.17/bin/$name" "/usr/lib/xen-4.17/bin/$name"
done
for file in "$work"/debs/usr/bin/xenstore*; do
    take "$(readlink -f "$file")" "/usr/bin/${file##*/}"
done
# What an HVM domain has of QEMU, and of firmware.
take /usr/libexec/xen-qemu-system-i386
for file in /usr/share/seabios/bios-256k.bin /usr/share/qemu/linuxboot.bin /usr/share/qemu/kvmvapic.bin \
    /usr/share/qemu/keymaps/en-us; do
    take "$file"
done
take "$work/debs/usr/lib/xen-4.17/boot/hvmloader" /usr/lib/xen-4.17/boot/hvmloader
# Hotplug scripts libxl runs for disks and network interfaces.
cp -a "$work/debs/etc/xen/scripts" "$root/etc/xen/"
[ ! -d "$work/debs/usr/lib/xen-common" ] || cp -a "$work/debs/usr/lib/xen-common" "$root/usr/lib/"
for name in xl xenstored xenconsoled; do
    ln -s ../lib/xen-4.17/bin/$name "$root/usr/sbin/$name"
done
printf 'autoballoon="off"\n' >"$root/etc/xen/xl.conf"
mkdir -p "$root/var/lib/xenstored" "$root/var/lib/xen/dump"

# Modules: what the toolstack needs, then what a node with pods needs. The
# order in which they can be inserted is worked out here, so dom0 needs no
# depmod.
modules=(xen-privcmd xenfs xen-evtchn xen-gntdev xen-gntalloc xen-blkback xen-netback loop overlay erofs ext4
    bridge veth tun sch_ingress cls_matchall act_mirred virtio_pci virtio_net e1000
    nft_compat nft_chain_nat xt_nat xt_MASQUERADE xt_mark xt_comment xt_addrtype xt_multiport xt_tcpudp)
depmod -b "$work/debs" -F "$work/debs/boot/System.map-$version" "$version"
: >"$root/lib/modules.order"
for name in "${modules[@]}"; do
    modprobe -d "$work/debs" -S "$version" --show-depends "$name" 2>/dev/null |
        sed -n 's|^insmod \([^ ]*\).*|\1|p' >>"$work/order" ||
        { echo "the dom0 kernel has no module $name" >&2 && exit 1; }
done
awk '!seen[$0]++' "$work/order" | while read -r file; do
    install -D -m 644 "$file" "$root/lib/modules/${file##*/}"
    echo "/lib/modules/${file##*/}" >>"$root/lib/modules.order"
done

install -m 755 "$here/dom0-init" "$root/init"
printf 'root:x:0:0:root:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
printf '127.0.0.1 localhost node\n' >"$root/etc/hosts"

mkdir -p "$work/out"
zcat "$work/debs/boot/xen-4.17-amd64.gz" >"$work/out/xen"
# The kernel without its own decompressor, which would take seconds in every
# emulated boot. Where the compressed ELF file lies: Documentation/x86/boot.rst.
bz=$work/debs/boot/vmlinuz-$version
field() { od -An -t "$1" -j "$2" -N "${1#u}" "$bz" | tr -d ' '; }
from=$((($(field u1 0x1f1) + 1) * 512 + $(field u4 0x248)))
dd if="$bz" of="$work/vmlinux.xz" status=none bs=64K iflag=skip_bytes,count_bytes \
    skip="$from" count="$(field u4 0x24c)"
xz -dc --single-stream <"$work/vmlinux.xz" >"$work/out/vmlinux" ||
    { echo "$kernel is not compressed by xz" >&2 && exit 1; }
(cd "$root" && find . -print0 | LC_ALL=C sort -z |
    cpio --quiet --null -o -H newc -R 0:0 --reproducible) >"$work/out/dom0.cpio"
rm -rf "$made"
mv "$work/out" "$made"
echo "$made"
