#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/configuration.md is what the runtime says of itself.
#   config_doc.sh SOURCE BUILD LIBDIR LIBEXECDIR [--update]
# The two folders depend on the prefix: in the page they are named.
set -euo pipefail
doc=$1/docs/configuration.md
made=$(mktemp)
trap 'rm -f "$made"' EXIT
"$2/bin/gpu-isolated-runtime" --print-config-doc | sed "s|$4|LIBEXECDIR|g; s|$3|LIBDIR|g" >"$made"
if [ "${5:-}" = --update ]; then
    cp "$made" "$doc"
elif ! diff -u "$doc" "$made"; then
    echo "docs/configuration.md is out of date: run this with --update"
    exit 1
fi
"$2/bin/gpu-isolated-runtime" --print-config >"$made"
"$2/bin/gpu-isolated-runtime" --config "$made" --print-config | cmp - "$made" ||
    { echo "what --print-config prints is not what it reads"; exit 1; }
"$2/bin/gpu-isolated-runtime" --config "$1/deploy/config.json" --print-config >/dev/null
