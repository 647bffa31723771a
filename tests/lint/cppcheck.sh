#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cppcheck over our own sources (generated code is not in the tree).
set -euo pipefail
cd "$1"
command -v cppcheck >/dev/null || { echo "needs cppcheck"; exit 77; }
mkdir -p "$2/cppcheck"
git ls-files '*.c' >"$2/cppcheck/files"
cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
    --inline-suppr --suppressions-list=tests/lint/cppcheck.suppress --cppcheck-build-dir="$2/cppcheck" \
    -j "$(nproc)" -I proto -D_GNU_SOURCE -D__linux__ -D__x86_64__ --file-list="$2/cppcheck/files"
