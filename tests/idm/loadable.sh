#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Does a library of ours load in old images? No library but libc's own, no symbol
# newer than GLIBC_2.17, no exported name but the API's, all of which begin with
# PREFIX; with CALLS (proto/idm/cuda.calls) all that it describes.
#   loadable.sh LIBRARY SONAME PREFIX [CALLS]
set -euo pipefail
library=$1
soname=$2
prefix=$3
calls=${4:-}
command -v objdump >/dev/null || { echo "needs objdump (binutils)"; exit 77; }
bad=0
say() { echo "$1"; bad=1; }

dynamic=$(objdump -p "$library")
grep -q "SONAME *${soname//./\\.}\$" <<<"$dynamic" || say "its SONAME isn't $soname"
while read -r name; do
    case $name in
    libc.so.6 | libpthread.so.0 | libdl.so.2 | ld-linux-x86-64.so.2 | ld-linux-aarch64.so.1) ;;
    *) say "it needs $name" ;;
    esac
done < <(awk '$1 == "NEEDED" {print $2}' <<<"$dynamic")

symbols=$(objdump -T "$library")
while read -r version; do
    newest=$(printf '%s\n' 2.17 "${version#GLIBC_}" | sort -V | tail -n 1)
    [ "$newest" = 2.17 ] || say "$(grep -F "$version" <<<"$symbols")"
done < <(grep -o 'GLIBC_[0-9A-Z._]*' <<<"$symbols$dynamic" | sort -u)

exported=$(awk -v p="^$prefix" '/ [gwu]/ && !/\*UND\*/ && $NF !~ p {print $NF}' <<<"$symbols")
[ -z "$exported" ] || say "it exports $exported"
[ -n "$calls" ] || exit "$bad"
# Every call that is described as there is there.
described=$(awk '$1 == "call" || $1 == "local" || $1 == "refused" {print $2}' "$calls")
[ -n "$described" ] || say "no calls in $calls"
for call in $described; do
    grep -q " $call\$" <<<"$symbols" || say "it has no $call"
done
exit "$bad"
