#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the kernel of a zone from Debian's linux-source-6.1, zone.config and patches/,
# and prints the folder that has it: vmlinux (stripped; what libxl boots, as PV
# and as PVH), config, System.map. Made once, kept under the hash of its inputs in
# build/cache (or GI_CACHE), because it takes minutes.
#   build.sh            builds it if need be
#   build.sh --cached   never builds: exits with 77 if it is not there
# GI_JOBS: how many compilers at once (default: the processors).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${GI_CACHE:-$(cd "$here/../.." && pwd)/build/cache}
source_package=linux-source-6.1
tarball=/usr/src/$source_package.tar.xz

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
[ ${#missing[@]} -eq 0 ] || skip "the zone's kernel needs the Debian packages ${missing[*]}"

key=$({
    dpkg-query -W -f '${Package}=${Version}\n' "$source_package" gcc-12 binutils
    cat "$here/build.sh" "$here/zone.config" "$here"/patches/*.patch
} | sha256sum | cut -c1-16)
made=$cache/kernel-$key
if [ -e "$made/vmlinux" ]; then
    echo "$made"
    exit 0
fi
[ "${1:-}" != --cached ] || skip "the zone's kernel is not built yet (guest-image/kernel/build.sh)"

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
echo "building the zone's kernel (takes minutes; log: $cache/kernel.log)" >&2
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
kmake KCONFIG_ALLCONFIG="$here/zone.config" allnoconfig ||
    { tail -n 20 "$cache/kernel.log" >&2 && exit 1; }

# An option that Kconfig dropped, because something it depends on isn't there,
# must not be missed by chance.
dropped=$(grep -E '^(CONFIG_|# CONFIG_)' "$here/zone.config" | grep -vxFf "$out/.config" || true)
if [ -n "$dropped" ]; then
    printf 'zone.config asks for what the kernel did not take:\n%s\n' "$dropped" >&2
    exit 1
fi
if grep -q '^CONFIG_MODULES=y' "$out/.config"; then
    echo "the zone's kernel must not have modules" >&2
    exit 1
fi
kmake -j "${GI_JOBS:-$(nproc)}" vmlinux || { tail -n 20 "$cache/kernel.log" >&2 && exit 1; }
strip -o "$work/made/vmlinux" "$out/vmlinux"
cp "$out/.config" "$work/made/config"
cp "$out/System.map" "$work/made/System.map"
mv "$work/made" "$made"
echo "the zone's kernel: $(stat -c %s "$made/vmlinux") bytes, built in $SECONDS s" >&2
echo "$made"
