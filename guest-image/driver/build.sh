#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes what a driver domain with a real GPU boots from: FOLDER/driver-vmlinuz
# and FOLDER/driver.erofs, of what was built in BUILD and NVIDIA's driver (its open kernel modules).
#   build.sh BUILD FOLDER                Debian's packages of the driver, downloaded and
#                                        unpacked, not installed (apt's sources must have
#                                        contrib, non-free and non-free-firmware)
#   build.sh BUILD FOLDER --from DRIVER  a folder that has the driver: what
#                                        NVIDIA-Linux-*.run --extract-only made, or
#                                        packages unpacked by dpkg -x
# What it makes has NVIDIA's files in it: their licence says who may pass them on.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 2 ] || { [ $# -eq 4 ] && [ "$3" = --from ]; } || { sed -n '3,11s/^# \{0,1\}//p' "$0" && exit 2; }
build=$1 folder=$2 from=${4:-}
packages=(nvidia-open-kernel-dkms firmware-nvidia-gsp libcuda1 libnvidia-ptxjitcompiler1)
fail() {
    echo "guest-image/driver: $*" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "$from" ]; then
    from=$work/debs
    mkdir "$from"
    (cd "$from" && apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}") ||
        fail "apt has no ${packages[*]}: its sources need contrib, non-free and non-free-firmware; or give --from"
    for file in "$from"/*.deb; do
        dpkg -x "$file" "$from"
    done
fi

# One file of a name, of this processor's.
only() { # PATTERN WHAT
    local found
    found=$(find "$from" -type f -name "$1" -not -path '*/32/*' -not -path '*i386*' | sort | head -n 1)
    [ -n "$found" ] || fail "$from has no $1 ($2)"
    echo "$found"
}
cuda=$(only 'libcuda.so.*.*' "the driver's library")
version=${cuda##*/libcuda.so.}
source=$(only nvidia-uvm.Kbuild "the source of NVIDIA's open kernel modules")
source=$(dirname "$(dirname "$source")")
mkdir -p "$work/nvidia/lib" "$work/nvidia/modules" "$work/nvidia/firmware/nvidia/$version" "$folder"
library() { # FILE: under the name that programs load it by
    local soname
    soname=$(readelf -d "$1" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
    cp "$1" "$work/nvidia/lib/${soname:?$1 has no name}"
}
library "$cuda"
library "$(only "libnvidia-ptxjitcompiler.so.$version" "what compiles PTX")"
# Parts of newer drivers' compilers.
for name in nvvm gpucomp; do
    file=$(find "$from" -type f -name "libnvidia-$name.so.$version" -not -path '*/32/*' -not -path '*i386*' -print -quit)
    [ -z "$file" ] || library "$file"
done
only 'gsp_*.bin' "the GPU's firmware" >/dev/null
find "$from" -type f -name 'gsp_*.bin' -exec cp {} "$work/nvidia/firmware/nvidia/$version/" \;

kernel=$("$here/../kernel/build.sh" --driver "$source")
cp "$kernel"/nvidia.ko "$kernel"/nvidia-uvm.ko "$work/nvidia/modules/"
cp "$kernel/vmlinuz" "$folder/driver-vmlinuz"
"$here/../rootfs/build.sh" "$build" "$folder/driver.erofs" driver "$work/nvidia"
echo "driver domain with NVIDIA's driver $version: $folder/driver-vmlinuz, $folder/driver.erofs" >&2
