# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# kill -9 of the runtime in the middle of a build.
run --name half "$image" -- /bin/true >/dev/null 2>&1 &
one=$!
sleep 1.5
kill_runtime
wait $one 2>/dev/null || true
start_runtime
gpuictl rm -f --all >/dev/null 2>&1 || true
until_ok 60 proxy_stats || fail "the driver domain is not found again"
[ "$(xl list | grep -c 'gi-@gpu')" = 1 ] || fail "not one driver domain"
