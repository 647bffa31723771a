#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every test that docs/specification.md names is one that ctest runs.
set -euo pipefail
tests=$(ctest --test-dir "$2" -N | sed -n 's/.*Test *#[0-9]*: //p')
# shellcheck disable=SC2016
named=$(sed -n 's/^| [A-Z][0-9]* |.*| \(.*\) |$/\1/p' "$1/docs/specification.md" | grep -o '`[^`]*`')
bad=0
for name in $(tr -d '`' <<<"$named" | sort -u); do
    grep -qxF "$name" <<<"$tests" || { echo "docs/specification.md: there is no test $name" && bad=1; }
done
exit "$bad"
