#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Has a program every name that it could link against? The exports of LIBRARY beside those of the
# toolkit's stand-in for libcuda: a name that is missing must be one that CALLS
# (proto/idm/cuda.calls) says is planned, and none may be of our own making.
#   exports.sh LIBRARY CALLS
set -euo pipefail
library=$1
calls=$2
stub=${CUDA_STUB:-${CUDA_HOME:-/usr/local/cuda}/lib64/stubs/libcuda.so}
command -v objdump >/dev/null || { echo "needs objdump (binutils)"; exit 77; }
[ -r "$stub" ] || { echo "needs the CUDA toolkit's stubs/libcuda.so: no $stub"; exit 77; }

names() { objdump -T "$1" | awk '/ [gwu]/ && !/\*UND\*/ && $NF ~ /^cu/ {print $NF}' | LC_ALL=C sort -u; }
planned() { awk '$1 == "planned" {for (i = 2; i <= NF; i++) print $i}' "$calls" | LC_ALL=C sort -u; }

theirs=$(names "$stub")
ours=$(names "$library")
[ "$(wc -l <<<"$theirs")" -gt 600 ] || { echo "$stub: only $(wc -l <<<"$theirs") names"; exit 1; }
bad=0
complain() {
    [ -z "$2" ] && return
    printf '%s\n' "$1" "$2"
    bad=1
}
# The toolkit at hand may be older or newer than the description: both are said.
complain "neither exported nor planned:" \
    "$(LC_ALL=C comm -23 <(echo "$theirs") <(printf '%s\n' "$ours" "$(planned)" | LC_ALL=C sort -u))"
complain "exported, and no name of CUDA's:" "$(LC_ALL=C comm -13 <(echo "$theirs") <(echo "$ours"))"
complain "planned, and exported nevertheless:" "$(LC_ALL=C comm -12 <(planned) <(echo "$ours"))"
echo "$(LC_ALL=C comm -12 <(echo "$theirs") <(echo "$ours") | wc -l) of $(wc -l <<<"$theirs") names"
exit "$bad"
