#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the kernel of a zone from Debian's linux-source-6.1, zone.config and patches/,
# and prints the folder that has it: vmlinux (stripped; what libxl boots, as PV
# and as PVH), config, System.map. Made once, kept under the hash of its inputs in
# build/cache (or GI_CACHE), because it takes minutes.
#   build.sh                   builds it if need be
#   build.sh --cached          never builds: exits with 77 if it is not there
#   build.sh --driver [SOURCE] the kernel of a driver domain that is an HVM domain instead:
#                              driver.config on top, and vmlinuz; and nvidia.ko and nvidia-uvm.ko, built from
#                              the folder SOURCE of NVIDIA's open kernel modules
# GI_JOBS: how many compilers at once (default: the processors).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${GI_CACHE:-$(cd "$here/../.." && pwd)/build/cache}
source_package=linux-source-6.1
tarball=/usr/src/$source_package.tar.xz
name=zone modules='' cached='' more=''
case "${1:-}" in
--cached) cached=1 ;;
--driver)
    name=driver more=$here/driver.config
    [ -z "${2:-}" ] || modules=$(realpath "$2")
    ;;
esac

skip() {
    echo "SKIP: $*" >&2
    exit 77
}
missing=()
for pair in gcc:gcc make:make flex:flex bison:bison bc:bc xz:xz-utils perl:perl patch:patch; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
[ -e "$tarball" ] || missing+=("$source_package")
[ -e /usr/include/libelf.h ] || missing+=(libelf-dev)
[ ${#missing[@]} -eq 0 ] || skip "the kernel of a $name needs the Debian packages ${missing[*]}"

key=$({
    dpkg-query -W -f '${Package}=${Version}\n' "$source_package" gcc-12 binutils
    cat "$here/build.sh" "$here/zone.config" "$here"/patches/*.patch
    [ -z "$more" ] || cat "$more"
    [ -z "$modules" ] || (cd "$modules" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
} | sha256sum | cut -c1-16)
made=$cache/kernel-$key
if [ -e "$made/vmlinux" ]; then
    echo "$made"
    exit 0
fi
[ -z "$cached" ] || skip "the zone's kernel is not built yet (guest-image/kernel/build.sh)"

mkdir -p "$cache"
# One builder at a time; who waited finds it done.
exec 9>"$cache/kernel.lock"
flock 9
if [ -e "$made/vmlinux" ]; then
    echo "$made"
    exit 0
fi
work=$(mktemp -d "$cache/kernel-making-XXXXXX")
trap 'rm -rf "$work"' EXIT
SECONDS=0
echo "building the kernel of a $name (takes minutes; log: $cache/kernel.log)" >&2
tar -C "$work" -xf "$tarball" --exclude='*/tools/testing/*'
source=$work/$source_package
for file in "$here"/patches/*.patch; do
    patch --quiet -d "$source" -p1 <"$file"
done
out=$work/out
mkdir -p "$out" "$work/made"
epoch=$(stat -c %Y "$tarball")
# Nothing of this machine gets into the kernel: the same inputs, the same bytes.
kmake() {
    nice -n 15 make -C "$source" O="$out" ARCH=x86_64 LOCALVERSION= \
        KBUILD_BUILD_USER=zone KBUILD_BUILD_HOST=gpu-isolated KBUILD_BUILD_VERSION=1 \
        KBUILD_BUILD_TIMESTAMP="$(date -u -d "@$epoch" '+%F %T UTC')" \
        KCFLAGS="-ffile-prefix-map=$source=." "$@" >>"$cache/kernel.log" 2>&1 9>&-
}
: >"$cache/kernel.log"
or_end() {
    "$@" || { tail -n 20 "$cache/kernel.log" >&2 && exit 1; }
}
# driver.config's word counts where both have one.
config=$work/config
{
    [ -z "$more" ] || cat "$more"
    cat "$here/zone.config"
} | awk '/^(# )?CONFIG_/ { key = $0; sub(/^# /, "", key); sub(/[= ].*/, "", key); if (!seen[key]++) print }' >"$config"
or_end kmake KCONFIG_ALLCONFIG="$config" allnoconfig

# An option that Kconfig dropped, because something it depends on isn't there,
# must not be missed by chance.
dropped=$(grep -vxFf "$out/.config" "$config" || true)
if [ -n "$dropped" ]; then
    printf 'the configuration asks for what the kernel did not take:\n%s\n' "$dropped" >&2
    exit 1
fi
if [ "$name" = zone ] && grep -q '^CONFIG_MODULES=y' "$out/.config"; then
    echo "the zone's kernel must not have modules" >&2
    exit 1
fi
image=vmlinux
[ "$name" = zone ] || image=bzImage
or_end kmake -j "${GI_JOBS:-$(nproc)}" "$image"
if [ -n "$modules" ]; then
    or_end kmake -j "${GI_JOBS:-$(nproc)}" modules
    cp -r "$modules" "$work/modules"
    # Kernels of late want a fourth argument, which drivers of before don't give.
    ! grep -q exclude_bars "$source/include/linux/pci.h" ||
        sed -i 's/pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size)/pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size, 0)/' \
            "$work/modules/nvidia/nv-pci.c"
    or_end kmake -j "${GI_JOBS:-$(nproc)}" M="$work/modules" NV_KERNEL_SOURCES="$source" NV_KERNEL_OUTPUT="$out" \
        NV_KERNEL_MODULES="nvidia nvidia-uvm" NV_BUILD_USER=zone NV_BUILD_HOST=gpu-isolated modules
    cp "$work"/modules/nvidia{,-uvm}.ko "$work/made/"
    strip --strip-debug "$work"/made/*.ko
fi
[ "$name" = zone ] || cp "$out/arch/x86/boot/bzImage" "$work/made/vmlinuz"
strip -o "$work/made/vmlinux" "$out/vmlinux"
cp "$out/.config" "$work/made/config"
cp "$out/System.map" "$work/made/System.map"
mv "$work/made" "$made"
echo "the kernel of a $name: $(stat -c %s "$made/vmlinux") bytes, built in $SECONDS s" >&2
echo "$made"
