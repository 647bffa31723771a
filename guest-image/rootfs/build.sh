#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the root file system of a zone: init, the agent, crun, libvgpu and the
# libraries they load, as a read-only EROFS image that all zones of a host
# share; or of a driver domain: init, gpu-proxy, and the simulated GPU or, from a
# folder that guest-image/driver has put together, NVIDIA's driver. The same
# inputs make the same bytes.
#   build.sh BUILD-FOLDER IMAGE [zone|driver [NVIDIA]]
set -euo pipefail
build=$1 image=$2 role=${3:-zone} nvidia=${4:-}

missing=()
command -v mkfs.erofs >/dev/null || missing+=(erofs-utils)
command -v crun >/dev/null || missing+=(crun)
if [ ${#missing[@]} -ne 0 ]; then
    echo "SKIP: the zone's root file system needs the Debian packages ${missing[*]}" >&2
    exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{dev,proc,sys,run,tmp,etc,sbin,usr/bin,lib,lib64}

declare -A have=()
take() { # FILE PATH-INSIDE: with all shared libraries it loads
    local file=$1 inside=$2 lib
    [ -z "${have[$inside]:-}" ] || return 0
    have[$inside]=1
    mkdir -p "$root${inside%/*}"
    install -m 755 "$file" "$root$inside"
    while read -r lib; do
        take "$lib" "$lib"
    done < <(ldd "$file" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' || true)
}
take "$build/bin/gpu-isolated-zone-init" /sbin/init
ln -s init "$root/sbin/poweroff"
libexec=/usr/libexec/gpu-isolated
programs=(gpu-isolated-zone-link)
if [ "$role" = zone ]; then
    programs+=(gpu-isolated-agent gpu-isolated-gpu-front)
    for file in libcuda.so.1 libnvidia-ml.so.1 vgpu-smi; do
        take "$build/lib/$file" "/usr/lib/gpu-isolated/$file"
    done
    take "$(command -v crun)" /usr/bin/crun
else
    programs+=(gpu-isolated-gpu-back)
    take "$build/bin/gpu-proxy" /usr/bin/gpu-proxy
    [ -n "$nvidia" ] || take "$build/lib/libcuda-sim.so" /usr/lib/gpu-isolated/libcuda-sim.so
fi
for program in "${programs[@]}"; do
    take "$build/bin/$program" "$libexec/$program"
done
# Symbols are for the build machine.
find "$root" -type f -exec strip --strip-unneeded {} +
if [ -n "$nvidia" ]; then # as it came
    for file in "$nvidia"/lib/*; do
        take "$file" "/usr/lib/x86_64-linux-gnu/${file##*/}"
    done
    cp -r "$nvidia/modules" "$root/lib/modules"
    cp -r "$nvidia/firmware" "$root/lib/firmware"
fi

printf 'root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
chmod 1777 "$root/tmp"

mkfs.erofs --quiet -zlz4hc -T0 -U 00000000-0000-0000-0000-000000000000 --all-root -x-1 \
    "$work/image" "$root" >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 1; }
mkdir -p "$(dirname "$image")"
mv "$work/image" "$image"
echo "root file system of a $role: $(stat -c %s "$image") bytes" >&2
