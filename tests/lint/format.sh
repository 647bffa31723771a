#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang-format decides layout.
set -euo pipefail
cd "$1"
command -v clang-format >/dev/null || { echo "needs clang-format"; exit 77; }
git ls-files -z '*.c' '*.h' | xargs -0 clang-format --dry-run -Werror
