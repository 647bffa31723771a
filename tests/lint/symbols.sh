#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# House rules a compiler doesn't know: dependencies point one way, no
# unbounded string functions, every source says its licence.
set -euo pipefail
cd "$1"
bad=0
say() { echo "$1"; bad=1; }
complain_grep() { # REASON PATTERN PATHS...
    local why=$1 pattern=$2
    shift 2
    if git grep -nE "$pattern" -- "$@"; then say "^ $why"; fi
}
complain_grep "unbounded string function" '(^|[^A-Za-z_])(strcpy|strcat|sprintf|vsprintf|gets)\(' '*.c' '*.h'
complain_grep "nobody includes runtime/ but runtime and tests" '#include "(\.\./)*runtime/' proto proxy libvgpu xenmgr guest-image
complain_grep "libvgpu and proxy know neither xenmgr nor the agent" '#include "(agent|cri|json)/|#include "xenmgr' libvgpu proxy proto/idm proto/control
# proxy/grants is the program that knows Xen so that gpu-proxy need not.
complain_grep "only xenmgr knows libxl and xenstore" '#include <(libxl|xenstore|xenctrl|xengnttab|xenevtchn)' runtime proxy libvgpu proto ':!proxy/grants'
while read -r f; do
    head -n 3 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || say "$f: no SPDX line"
done < <(git ls-files '*.c' '*.h' '*.sh' 'CMakeLists.txt' '*.cmake' '*.proto')
exit "$bad"
