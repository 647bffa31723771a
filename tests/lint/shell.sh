#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every shell script in the tree, by shellcheck.
set -euo pipefail
cd "$1"
command -v shellcheck >/dev/null || { echo "needs shellcheck"; exit 77; }
{
    git ls-files '*.sh'
    git grep -lE '^#!.*(ba)?sh( |$)' -- ':!*.md' ':!*.c'
} | sort -u | xargs shellcheck -x
