#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# GPU pods end to end: one, two at once, one without the GPU, exit codes, a
# hostile image, and gpu-proxy killed under a running program.
#   gpu_pods.sh BUILD
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
trap node_trap EXIT
node_begin "$1"

# launches ZONE_LABEL_PATTERN: kernel launches of all zones, summed.
launches() {
    proxy_stats --json | grep -o '"launches": *[0-9]*' | grep -o '[0-9]*$' | sort -n | tail -n 1
}

say "a GPU pod computes the right result"
start_registry
push_demo
start_proxy
start_runtime 30
gpuictl pull "$demo_image"
gpuictl run --keep --gpu --gpu-memory 256Mi --gpu-weight 200 --gpu-cap 80 --name one "$demo_image" -- \
    /bin/gpu-demo -n 20000 |
    tee "$NODE/one.out"
grep -q "agree with the CPU's" "$NODE/one.out" || fail "the program did not report agreement"
expect_equal "memory 256 MiB" "$(sed -n 's/^memory *\([0-9]* MiB\),.*/memory \1/p' "$NODE/one.out")" \
    "the pod's quota is not what cuMemGetInfo shows"
[ "$(launches)" -ge 6 ] || fail "gpu-proxy counted $(launches) launches"
proxy_stats --json | grep -q '"compute_weight": 200, "compute_cap": 80' ||
    fail "the pod's share of GPU time is not what its annotations say"
gpuictl rm -f one
for bad in "--gpu-cap 101" "--gpu-cap 0" "--gpu-weight -1" "--gpu-weight 99999999999" "--gpu-cap 5%"; do
    # shellcheck disable=SC2086
    gpuictl run -q --gpu $bad "$demo_image" -- /bin/true >"$NODE/bad.out" 2>&1 && fail "$bad passed"
    grep -q 'annotations\["gpu-isolated.dev/gpu-' "$NODE/bad.out" ||
        fail "$bad: $(tail -n 1 "$NODE/bad.out")"
done
gpuictl run -q --gpu --gpu-memory 256Mi "$demo_image" -- /usr/bin/vgpu-smi >"$NODE/smi.out" 2>&1 ||
    fail "vgpu-smi: $(tail -n 1 "$NODE/smi.out")"
grep -q " 0MiB / 256MiB" "$NODE/smi.out" || fail "vgpu-smi doesn't show the quota"
expect_equal 256 "$(gpuictl run -q --gpu --gpu-memory 256Mi "$demo_image" -- /usr/bin/nvidia-smi \
    --query-gpu=memory.total --format=csv,noheader,nounits)" "nvidia-smi's memory.total"
# Who asks ldconfig finds what the pod has been given (Triton does).
cached() { gpuictl run -q "$@" "$demo_image" -- /bin/ldconfig -p >"$NODE/ldconfig.out" || fail "ldconfig"; }
cached --gpu
for library in libcuda.so libcuda.so.1 libnvidia-ml.so.1; do
    grep -q "$library (libc6,x86-64) => /lib/x86_64-linux-gnu/$library\$" "$NODE/ldconfig.out" ||
        fail "$library is not in the loader's cache"
done
cached
grep -q libcuda "$NODE/ldconfig.out" && fail "libcuda in the cache of a pod without the GPU"
# What NCCL can't do there it is told, unless somebody told it otherwise.
shm() { gpuictl run -q "$@" | sed -n 's/^NCCL_SHM_DISABLE=//p'; }
expect_equal 1 "$(shm --gpu "$demo_image" -- /bin/env)" "NCCL_SHM_DISABLE with a GPU"
expect_equal 0 "$(shm --gpu --env NCCL_SHM_DISABLE=0 "$demo_image" -- /bin/env)" "the pod's NCCL_SHM_DISABLE"
expect_equal "" "$(shm "$demo_image" -- /bin/env)" "NCCL_SHM_DISABLE without a GPU"

say "two GPU pods at once"
gpuictl run -q --gpu --gpu-memory 256Mi --name two-a "$demo_image" -- /bin/gpu-demo -n 20000 \
    --seconds 3 >"$NODE/a.out" 2>&1 &
a=$!
gpuictl run -q --gpu --gpu-memory 128Mi --name two-b "$demo_image" -- /bin/gpu-demo -n 10000 \
    --seconds 3 >"$NODE/b.out" 2>&1 &
b=$!
both() { [ "$(proxy_stats --json | grep -o '"clients": *1' | wc -l)" -eq 2 ]; }
wait_for 20 both || fail "the two programs never were clients at the same time"
wait "$a" || fail "pod a failed: $(tail -n 1 "$NODE/a.out")"
wait "$b" || fail "pod b failed: $(tail -n 1 "$NODE/b.out")"
grep -q '^memory *256 MiB' "$NODE/a.out" || fail "pod a does not see its own quota"
grep -q '^memory *128 MiB' "$NODE/b.out" || fail "pod b does not see its own quota"

say "a pod that did not ask for the GPU has none"
rc=0
gpuictl run -q --name none "$demo_image" >"$NODE/none.out" 2>&1 || rc=$?
[ "$rc" -ne 0 ] || fail "a CUDA program ran in a pod without the GPU"
if grep -q "agree with" "$NODE/none.out"; then fail "a result without a GPU"; fi

say "limits change while it runs"
gpuictl run -q -d --keep --name sized --memory 96Mi "$demo_image" -- /bin/sleep 100 >/dev/null || fail "sized"
gpuictl update --memory 160Mi --cpus 1.5 sized >/dev/null || fail "update the pod"
for bad in "--memory much sized" "--cpus 0 sized" "--memory 64Mi" "sized" "--memory 64Mi none-such"; do
    # shellcheck disable=SC2086
    gpuictl update $bad >/dev/null 2>&1 && fail "update $bad: passed"
done
gpuictl rm -f sized >/dev/null || fail "rm sized"

say "exit codes and output come through"
rc=0
out=$(gpuictl run -q "$demo_image" /bin/sh -c 'echo to-out; echo to-err >&2; exit 42' 2>"$NODE/err") || rc=$?
expect_equal 42 "$rc" "exit code"
expect_equal to-out "$out" "standard output"
expect_equal to-err "$(cat "$NODE/err")" "standard error"
rc=0
# Not the container's first process: to that one its own SIGKILL is nothing.
# shellcheck disable=SC2016
gpuictl run -q "$demo_image" /bin/sh -c 'sh -c "kill -9 \$\$"; exit $?' || rc=$?
expect_equal 137 "$rc" "exit code of a killed program"
rc=0
gpuictl run -q "$demo_image" /no/such/program 2>"$NODE/err" || rc=$?
{ [ "$rc" -ge 125 ] && [ "$rc" -le 128 ]; } || fail "a missing program ended with $rc"

say "a hostile image fails cleanly"
for attack in dotdot absolute symlink hardlink; do
    push_hostile "$attack"
    rc=0
    gpuictl pull -q "$registry_host/hostile-$attack:1" >"$NODE/pull.out" 2>&1 || rc=$?
    cat "$NODE/pull.out"
    # Safe is: refused, or unpacked without anything outside.
    for escaped in "$NODE/escaped" /gi-escaped; do
        [ ! -e "$escaped" ] || fail "$attack: a file escaped the image"
    done
    ! grep -q "written through" "$NODE/logs/registry.log" || fail "$attack: a host file was written"
    if [ "$rc" -ne 0 ]; then
        ! gpuictl images | grep -q "hostile-$attack" || fail "$attack: a refused image is listed"
    fi
done
gpuictl run -q "$demo_image" /bin/true || fail "the runtime does not work after hostile images"

say "gpu-proxy killed under a running program"
gpuictl run -q --gpu --name victim "$demo_image" -- /bin/gpu-demo -n 1000 --seconds 60 \
    >"$NODE/victim.out" 2>&1 &
victim=$!
busy() { grep -q "^round" "$NODE/victim.out"; }
wait_for 20 busy || fail "the program never used the GPU: $(tail -n 1 "$NODE/victim.out")"
kill -KILL "$proxy_pid"
wait "$proxy_pid" 2>/dev/null || true
rc=0
wait_end "$victim" 20 || fail "the program hangs after gpu-proxy's death"
wait "$victim" || rc=$?
expect_equal 1 "$rc" "exit code of the program that lost its GPU"
grep -q "failed: CUDA_ERROR_" "$NODE/victim.out" ||
    fail "no CUDA error: $(tail -n 1 "$NODE/victim.out")"
echo "it got: $(grep "failed:" "$NODE/victim.out")"
start_proxy
gpuictl run -q --gpu "$demo_image" -- /bin/gpu-demo -n 1000 >"$NODE/after.out" 2>&1 ||
    fail "a new GPU pod after gpu-proxy's restart: $(tail -n 1 "$NODE/after.out")"
no_workers() { [ -z "$(pgrep -f "$NODE.*worker" || true)" ]; }
wait_for 5 no_workers || fail "workers are left"
say "done"
