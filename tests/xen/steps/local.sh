# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034,SC2086
# The driver `local` on a host whose cgroups are version 2, which dom0 is: the suites of CRI in a
# runtime of their own. The step's word is one of them; none: all.
grep -q '^cgroup2 /sys/fs/cgroup ' /proc/self/mounts || fail "cgroups: $(grep cgroup /proc/self/mounts)"
# Containers' roots replace that of the host (pivot_root(2)), which a kernel does not allow for the
# initramfs that dom0 runs in: seen from here it is a mount like any other.
mkdir -p /run/gi/root
unshare -m sh -ec 'mount --make-rprivate /
    mount --rbind / /run/gi/root
    cd /run/gi/root
    mount --move . /
    exec chroot . /node/local-inside.sh "$@"' sh ${arg:-} || fail "see above"
rmdir /run/gi/root
