# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# kill -9 of the runtime: its pods live on and are known again, no line is lost.
run -d --keep --name long "$image" -- /bin/sh -c 'n=0; while [ $n -lt 600 ]; do echo line $n; n=$((n+1)); sleep 1; done' >/run/gi/id
kill_runtime
sleep 2
start_runtime
gpuictl exec long -- cat /proc/version | grep -q -- -zone || fail "exec after the restart"
until_ok 20 gpuictl logs long || fail "logs after the restart"
gpuictl logs long | awk '$2 != n++ { exit 1 }' || fail "a line is lost or doubled: $(gpuictl logs long)"
gpuictl stats long || fail "stats"
