# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The Debian 12 packages each command needs (reasons: docs/dependencies.md),
# and the one function that installs what is missing. Sourced, not run.

# shellcheck disable=SC2034
PACKAGES_BUILD=(gcc cmake make pkg-config libc6-dev
    libgrpc-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
    libyajl-dev libcurl4-openssl-dev libssl-dev zlib1g-dev libzstd-dev libarchive-dev)
# shellcheck disable=SC2034
PACKAGES_RUN=(runc crun busybox-static docker-registry iproute2 curl)
# shellcheck disable=SC2034
PACKAGES_TEST=(libcmocka-dev binutils procps util-linux apache2-utils containernetworking-plugins iptables)
# shellcheck disable=SC2034
PACKAGES_LINT=(clang-format clang-tidy cppcheck shellcheck git)

# Real Xen in QEMU and the guest's kernel. The hypervisor, its tools and dom0's
# kernel are only downloaded and unpacked by tests/xen-node/make-dom0.sh.
# shellcheck disable=SC2034
PACKAGES_XEN=(qemu-system-x86 qemu-system-xen libxen-dev cpio kmod xz-utils busybox-static
    linux-source-6.1 flex bison bc patch libelf-dev erofs-utils e2fsprogs socat
    containernetworking-plugins iptables)

# ensure_packages NAME...: installs the missing ones; quiet when there are none.
ensure_packages() {
    local missing=() name
    for name in "$@"; do
        if [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" != installed ]; then
            missing+=("$name")
        fi
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "these Debian packages are missing and only root can install them: ${missing[*]}" >&2
        return 1
    fi
    echo "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local log
    log=$(mktemp)
    # docker-registry's own service isn't wanted: every user here starts one of
    # its own, on loopback. policy-rc.d refuses to start services meanwhile.
    local policy=/usr/sbin/policy-rc.d made_policy=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=1
    fi
    local rc=0
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || rc=$?
    [ -z "$made_policy" ] || rm -f "$policy"
    if [ "$rc" -ne 0 ]; then
        tail -n 20 "$log" >&2
        echo "apt-get could not install: ${missing[*]}" >&2
    fi
    rm -f "$log"
    return "$rc"
}
