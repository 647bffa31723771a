#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copies /payload (a cmake --install tree) to the host mounted at $HOST. What
# it does and does not do: installer.yaml.
set -euo pipefail

host=${HOST:-/host}
payload=${PAYLOAD:-/payload}
prefix=/opt/gpu-isolated

die() {
    echo "install-node: $1" >&2
    exit 1
}

[ -d "$host/etc" ] || die "$host is not a host's root folder"
[ -d "$payload$prefix" ] || die "$payload has no $prefix: was the image built from a cmake --install tree?"

# shellcheck source=/dev/null
. "$host/etc/os-release"
if [ "${ID:-} ${VERSION_ID:-}" != "debian 12" ]; then
    echo "install-node: built for Debian 12, this is ${PRETTY_NAME:-unknown}: its libraries may not fit" >&2
fi

# All files under a name of their own first, then one rename: a runtime that
# starts meanwhile finds the old tree or the new one.
mkdir -p "$host/opt"
rm -rf "$host$prefix.new" "$host$prefix.old"
cp -a "$payload$prefix" "$host$prefix.new"
[ ! -e "$host$prefix" ] || mv "$host$prefix" "$host$prefix.old"
mv "$host$prefix.new" "$host$prefix"
rm -rf "$host$prefix.old"
echo "install-node: files are in $prefix"

# An operator's configuration is never overwritten.
if [ -d "$host$prefix/etc/gpu-isolated" ]; then
    mkdir -p "$host/etc/gpu-isolated"
    cp -an "$host$prefix/etc/gpu-isolated/." "$host/etc/gpu-isolated/"
fi

shopt -s nullglob
units=("$host$prefix"/lib/systemd/system/*.service)
for unit in "${units[@]}"; do
    install -m 0644 "$unit" "$host/etc/systemd/system/${unit##*/}"
done
[ ${#units[@]} -gt 0 ] || die "the payload has no systemd units"

if [ "${ENABLE_UNITS:-no}" = yes ]; then
    nsenter --target 1 --mount -- systemctl daemon-reload
    for unit in "${units[@]}"; do
        nsenter --target 1 --mount -- systemctl enable --now "${unit##*/}"
    done
    echo "install-node: units are enabled"
else
    echo "install-node: units are installed, not enabled (ENABLE_UNITS=no)"
fi
echo "install-node: the kubelet is unchanged; see installer.yaml for what an operator does next"
