# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What a node of our own is made of, put together for tests/xen-node/run.sh:
# programs with all libraries they load, under /node. Sourced, not run.
#   stage_begin BUILD      makes $STAGE, a folder that becomes dom0's /node
#   stage_program FILE...  into /node/bin, libraries into /node/lib
#   stage_end              removes it
STAGE=

stage_begin() {
    STAGE=$(mktemp -d)
    mkdir -p "$STAGE/node/bin" "$STAGE/node/lib"
}

stage_program() {
    local file lib
    for file in "$@"; do
        cp -L "$file" "$STAGE/node/bin/"
        while read -r lib; do
            [ -e "$STAGE/node/lib/${lib##*/}" ] || cp -L "$lib" "$STAGE/node/lib/"
        done < <(ldd "$file" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' || true)
    done
}

stage_end() {
    [ -z "$STAGE" ] || rm -rf "$STAGE"
}
