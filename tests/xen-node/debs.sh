# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Debian packages that are used unpacked, never installed: a hypervisor and a
# kernel have no business in this machine's /boot. Sourced, not run.

# The folder shared by all that is made once and kept: dom0 images, guest
# kernels, their downloads. In the build folder unless GI_CACHE names another.
xen_cache() {
    echo "${GI_CACHE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/cache}"
}

skip() {
    echo "SKIP: $*" >&2
    exit 77
}

# need_commands COMMAND:PACKAGE...: skips, saying which package is missing.
need_commands() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || skip "needs the Debian packages ${missing[*]}"
}

# deb_candidate PACKAGE: prints "NAME=VERSION" of what apt would install;
# nothing where apt knows no such package.
deb_candidate() {
    local version
    version=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p')
    [ -z "$version" ] || [ "$version" = "(none)" ] || echo "$1=$version"
}

# deb_dependency PACKAGE PATTERN: the name of PACKAGE's dependency like PATTERN.
deb_dependency() {
    apt-cache depends "$1" 2>/dev/null | sed -n "s/^ *Depends: \\($2\\)\$/\\1/p" | head -n 1
}

# deb_unpack INTO NAME=VERSION...: unpacks the packages into the folder INTO;
# downloads are kept.
deb_unpack() {
    local into=$1 debs spec version pattern file
    shift
    debs=$(xen_cache)/debs
    mkdir -p "$into" "$debs"
    for spec in "$@"; do
        # apt writes the epoch's colon as %3a.
        version=${spec#*=}
        pattern="${spec%%=*}_${version/:/%3a}_*.deb"
        file=$(find "$debs" -name "$pattern" -print -quit)
        if [ -z "$file" ]; then
            (cd "$debs" && apt-get download -qq -o APT::Sandbox::User=root "$spec") ||
                skip "could not download the Debian package $spec"
            file=$(find "$debs" -name "$pattern" -print -quit)
        fi
        dpkg -x "$file" "$into"
    done
}
