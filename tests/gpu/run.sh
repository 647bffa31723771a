#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that can be tried on a machine with a GPU: builds the rooms that need nothing but libc,
# starts gpu-proxy with the machine's libcuda, runs programs on the driver itself and through
# libvgpu, and prints what both took. README.md says more.
#   run.sh [--short] [--driver LIBCUDA] [--build FOLDER] [--quota MIB] [--python PYTHON]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
short='' driver='' build='' quota=16384 python=python3
inside=${GI_GPU_RUN_INSIDE:-}
while [ $# -gt 0 ]; do
    case $1 in
    --short) short=--short ;;
    --driver) driver=$(realpath "$2"); shift ;;
    --build) build=$(realpath "$2"); shift ;;
    --quota) quota=$2; shift ;;
    --python) python=$2; shift ;;
    *) sed -n '/^#   run/s/^# *//p' "$0" >&2; exit 2 ;;
    esac
    shift
done

# --- Outside: build, find the driver, go on beside gpu-proxy ---------------------------------

find_driver() {
    ldconfig -p 2>/dev/null | awk '$1 == "libcuda.so.1" && /x86-64|aarch64/ {print $NF; exit}'
}

if [ -z "$inside" ]; then
    [ -n "$driver" ] || driver=$(find_driver)
    [ -r "$driver" ] || { echo "no libcuda.so.1 on this machine; --driver names another"; exit 77; }
    if [ -z "$build" ]; then
        build=$root/build/gpu-only
        (cd "$root" && cmake --preset gpu-only >"$root/gpu-run-build.log" 2>&1 &&
            cmake --build --preset gpu-only -j"$(nproc)" \
                --target gpu-proxy vgpu vgpu-nvml cuda-sim idm-program idm-share-program idm-bench gpu-node \
                >>"$root/gpu-run-build.log" 2>&1) || { tail -n 20 "$root/gpu-run-build.log"; exit 1; }
        rm -f "$root/gpu-run-build.log"
    fi
    for needed in bin/gpu-proxy bin/gpu-node bin/idm-program bin/idm-share-program bin/idm-bench lib/libcuda.so.1 lib/libnvidia-ml.so.1; do
        [ -e "$build/$needed" ] || { echo "$build has no $needed"; exit 77; }
    done
    work=$(mktemp -d /tmp/gi-gpu-run-XXXXXX)
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/native" "$work/libvgpu"
    ln -s "$driver" "$work/native/libcuda.so.1"
    ln -s "$build/lib/libcuda.so.1" "$work/libvgpu/libcuda.so.1"
    ln -s "$build/lib/libnvidia-ml.so.1" "$work/libvgpu/libnvidia-ml.so.1"
    export GI_GPU_RUN_INSIDE=$work
    case $driver in
    # A GPU of the future: libraries have no machine code for it, and use their PTX.
    # Two, for what they do together.
    *libcuda-sim.so) export GI_SIM_CAPABILITY=${GI_SIM_CAPABILITY:-130} GI_SIM_DEVICES=${GI_SIM_DEVICES:-2} ;;
    esac
    rc=0
    "$build/bin/gpu-node" "$build/bin/gpu-proxy" "$driver" 2 "$quota" \
        "$0" ${short:+--short} --driver "$driver" --build "$build" --quota "$quota" \
        --python "$python" || rc=$?
    exit "$rc"
fi

# --- Inside ------------------------------------------------------------------------------------

work=$inside
failures=0
cuda=${CUDA_HOME:-/usr/local/cuda}
nvcc=${NVCC:-$(command -v nvcc || echo "$cuda/bin/nvcc")}
[ -x "$nvcc" ] && cuda=$(cd "$(dirname "$(realpath "$nvcc")")/.." && pwd)
is_sim='' reads_zstd=yes
case $driver in
*libcuda-sim.so)
    is_sim=yes
    ldd "$driver" | grep -q libzstd || reads_zstd=''
    ;;
esac
# A driver built with a sanitizer has to be loaded after its runtime.
preload=$(ldd "$driver" 2>/dev/null | awk '/libasan/ {print $3}')

row() { # name, result, native, through libvgpu, ratio, why
    printf '%-22s %-9s %12s %12s %7s  %s\n' "$1" "$2" "$3" "$4" "$5" "$6"
}
skipped() { row "$1" skipped "" "" "" "$2"; }
failed() {
    row "$1" FAILED "" "" "" "$2"
    failures=$((failures + 1))
}

# on SIDE LOG COMMAND...: the exit code; what it printed and its seconds are in LOG, LOG.seconds.
on() {
    local side=$1 log=$2 first='' start end rc=0
    shift 2
    [ "$side" = native ] && first=$preload
    start=$(date +%s.%N)
    LD_LIBRARY_PATH=$work/$side:$cuda/lib64 LD_PRELOAD=$first ASAN_OPTIONS=detect_leaks=0 \
        timeout 1800 "$@" >"$log" 2>"$log.err" </dev/null || rc=$?
    end=$(date +%s.%N)
    # What a program measured itself, without its start, counts more.
    awk '$1 == "seconds:" {s = $2} END {if (s) print s}' "$log" >"$log.seconds"
    [ -s "$log.seconds" ] || awk -v a="$start" -v b="$end" 'BEGIN {printf "%.3f\n", b - a}' \
        >"$log.seconds"
    sed -i '/^seconds:/d' "$log"
    return "$rc"
}

last_line() { cat "$1" "$1.err" 2>/dev/null | grep -v '^$' | tail -n 1 | cut -c -100; }

# both NAME COMMAND...: on the driver and through libvgpu; @ in COMMAND is the side's libcuda.
both() {
    local name=$1 rc=0 a=$work/log.native b=$work/log.libvgpu
    shift
    on native "$a" "${@//@/$work/native/libcuda.so.1}" || rc=$?
    if [ "$rc" = 77 ]; then
        skipped "$name" "$(last_line "$a")"
        return
    elif [ "$rc" != 0 ] && [ -n "$is_sim" ]; then
        failed "$name" "on the simulated GPU: exit code $rc: $(last_line "$a")"
        return
    elif [ "$rc" != 0 ]; then
        skipped "$name" "the driver itself can't: $(last_line "$a")"
        return
    fi
    on libvgpu "$b" "${@//@/$work/libvgpu/libcuda.so.1}" || rc=$?
    if [ "$rc" != 0 ]; then
        failed "$name" "through libvgpu: exit code $rc: $(last_line "$b")"
    elif grep -qE '(^|[^0-9])[1-9][0-9]* (wrong|far)' "$b"; then
        failed "$name" "wrong results: $(grep -E '[1-9][0-9]* (wrong|far)' "$b" | head -n 1)"
    elif ! cmp -s "$a" "$b"; then
        failed "$name" "prints something else through libvgpu: $(diff "$a" "$b" | sed -n 2p | cut -c -80)"
    else
        row "$name" ok "$(cat "$a.seconds") s" "$(cat "$b.seconds") s" \
            "$(awk -v a="$(cat "$a.seconds")" -v b="$(cat "$b.seconds")" \
                'BEGIN {if (a > 0) printf "%.2f", b / a; else print "-"}')" ""
    fi
}

# Like both, where the driver has no NVML of its own: the simulated one.
through() {
    local name=$1 rc=0 b=$work/log.libvgpu
    shift
    on libvgpu "$b" "$@" || rc=$?
    if [ "$rc" != 0 ] || ! grep -q ' 0 wrong' "$b" || grep -qE '[1-9][0-9]* wrong' "$b"; then
        failed "$name" "through libvgpu: exit code $rc: $(last_line "$b")"
    else
        row "$name" ok "" "$(cat "$b.seconds") s" "" "the simulated driver has no NVML to compare with"
    fi
}

compile() { # SOURCE PROGRAM; the reason on failure
    local flags libraries=() own=() l
    flags=$(sed -n 's|^/\* nvcc: \(.*\) \*/$|\1|p' "$1")
    for l in $flags; do
        case $l in
        -lcuda) libraries+=(-L"$cuda/lib64/stubs" -lcuda) ;;
        -l*)
            [ -e "$cuda/lib64/lib${l#-l}.so" ] || { echo "no lib${l#-l}.so in $cuda/lib64"; return 1; }
            libraries+=("$l")
            ;;
        *.cu) own+=("$(dirname "$1")/$l") ;; # a second source
        *) own+=("$l") ;;
        esac
    done
    if [ -z "$reads_zstd" ] && [ ${#libraries[@]} != 0 ]; then
        echo "the simulated GPU was built without libzstd, and the library is compressed with it"
        return 1
    fi
    "$nvcc" -std=c++17 ${is_sim:+--compress-mode=speed} -cudart shared -o "$2" "$1" \
        "${own[@]}" "${libraries[@]}" >"$work/log.nvcc" 2>&1 || { tail -n 1 "$work/log.nvcc"; return 1; }
}

programs() {
    local source name why
    if [ ! -x "$nvcc" ]; then
        skipped "CUDA programs" "no nvcc: in PATH, \$NVCC or $cuda/bin"
        return
    fi
    local sources=("$root"/tests/nvcc/*.cu)
    [ -n "$short" ] && sources=("$root/tests/nvcc/vector.cu")
    for source in "${sources[@]}" "$here"/*.cu; do
        name=$(basename "$source" .cu)
        if ! why=$(compile "$source" "$work/$name"); then
            skipped "$name" "$why"
        elif [[ $name = nccl* ]] && [ -n "$is_sim" ]; then
            through "$name" "$work/$name"
        else
            both "$name" "$work/$name"
        fi
    done
}

# llama.cpp as the npm registry has it, in FOLDER; the reason on failure.
install_llama() {
    local major
    [ "$(uname -m)" = x86_64 ] || { echo "it is there for x86-64 only"; return 1; }
    major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
    if [ "${major:-0}" -lt 20 ] || ! command -v npm >/dev/null; then
        echo "needs Node.js 20 and npm"
        return 1
    fi
    LD_LIBRARY_PATH=$cuda/lib64 "$python" -c 'import ctypes; ctypes.CDLL("libcublas.so.13")' 2>/dev/null ||
        { echo "needs libcublas.so.13"; return 1; }
    [ -n "$reads_zstd" ] || { echo "the simulated GPU was built without libzstd"; return 1; }
    mkdir -p "$1"
    cp "$here"/llama/*.mjs "$1"
    if ! cmp -s "$here/llama/package.json" "$1/package.json"; then
        rm -rf "$1/node_modules"
        cp "$here/llama/package.json" "$1/wanted.json"
        (cd "$1" && mv wanted.json package.json && npm install --omit=optional --ignore-scripts \
            --no-package-lock --no-audit --no-fund) >"$work/log.npm" 2>&1 ||
            { rm -f "$1/package.json"; echo "npm: $(last_line "$work/log.npm")"; return 1; }
    fi
}

language_model() {
    local folder=$root/build/cache/llama why
    if ! why=$(install_llama "$folder"); then
        skipped llama.cpp "$why"
    else
        both llama.cpp node "$folder/llama.mjs" ${short:+--short}
    fi
}

has_torch() {
    "$python" -c 'import torch' >/dev/null 2>&1 || { echo "no PyTorch in $python"; return 1; }
    on native "$work/log.torch" "$python" -c \
        'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)' ||
        { echo "PyTorch sees no GPU"; return 1; }
}

networks() {
    local name why
    if ! why=$(has_torch); then
        skipped "PyTorch programs" "$why"
        return
    fi
    for name in tensor_ops autograd resnet gpt decode loader compile; do
        both "$name.py" "$python" "$here/$name.py" ${short:+--short}
    done
}

# Two zones at once: each is to get its result, and neither all of the GPU.
two_zones() {
    local command=("$build/bin/idm-program" "$work/libvgpu/libcuda.so.1") what=idm-program why
    local alone=$work/log.alone one=$work/log.one two=$work/log.two rc1=0 rc2=0
    if why=$(has_torch); then
        command=("$python" "$here/gpt.py" ${short:+--short})
        what=gpt.py
    fi
    if ! on libvgpu "$alone" "${command[@]}"; then
        skipped "two zones" "$what fails alone"
        return
    fi
    # shellcheck disable=SC2153 # gpu-node sets both
    (export GI_GPU_SOCKET=$GI_GPU_SOCKET_2; on libvgpu "$two" "${command[@]}") &
    on libvgpu "$one" "${command[@]}" || rc1=$?
    wait $! || rc2=$?
    if [ "$rc1" != 0 ] || [ "$rc2" != 0 ]; then
        failed "two zones" "$what in both at once: exit codes $rc1 and $rc2"
        diff "$alone" "$one" | head -n 20
        diff "$alone" "$two" | head -n 20
    elif ! cmp -s "$alone" "$one" || ! cmp -s "$alone" "$two"; then
        failed "two zones" "$what prints something else beside another zone"
    else
        row "two zones" ok "$(cat "$alone.seconds") s" "$(cat "$one.seconds") s" \
            "$(awk -v a="$(cat "$alone.seconds")" -v b="$(cat "$one.seconds")" \
                'BEGIN {printf "%.2f", b / a}')" "$what alone, and beside itself"
    fi
}

over_quota() {
    local why log=$work/log.quota
    if ! why=$(has_torch); then
        skipped "over the quota" "$why"
        return
    fi
    if on libvgpu "$log" "$python" -c "
import torch
try:
    torch.empty(($quota + 64) << 20, dtype=torch.uint8, device='cuda')
except torch.cuda.OutOfMemoryError:
    torch.empty(1 << 20, dtype=torch.uint8, device='cuda').zero_()
    print('refused, and goes on')
"; then
        if grep -q refused "$log"; then
            row "over the quota" ok "" "" "" ""
        else
            failed "over the quota" "more than the quota was given"
        fi
    else
        failed "over the quota" "$(last_line "$log")"
    fi
}

row program result "the driver" "libvgpu" ratio ""
both idm-program "$build/bin/idm-program" @
both idm-share "$build/bin/idm-share-program" @
programs
language_model
networks
two_zones
over_quota
echo
"$build/bin/idm-bench" ${short:+--quick} --pod "$work/libvgpu/libcuda.so.1" ||
    failed idm-bench "exit code $?"
[ "$failures" = 0 ] || echo "$failures failed"
[ "$failures" = 0 ]
