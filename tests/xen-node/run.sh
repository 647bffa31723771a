#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boots real Xen 4.17 in QEMU, with a Linux dom0, and runs a script in it.
#   run.sh [OPTION...]
#     --cmd SCRIPT     file to run in dom0 (without one: a line about Xen)
#     --add SRC:DST    puts a file or folder into dom0 (before boot); repeatable
#     --out DIR        what the script leaves in /out comes here
#     --log FILE       the console of Xen and dom0, kept (default: in the cache)
#     --timeout S      time limit of all, 300 by default
#     --memory MB      of the machine (3072); dom0 has a third, at least 1024
#     --cpus N         of the machine (2)
#     --qemu ARG       one more argument for QEMU; repeatable
#     --xen WORDS      more of Xen's own command line, as guest_loglvl=all
#     --forward H:D    127.0.0.1:H here is port D of dom0 (10.0.2.15); repeatable.
#                      The only way in or out; dom0 reaches nothing else
#     --verbose        shows the console while it runs
#     --stream         the script's output line by line as it comes, not at the end
# The script's output goes to stdout. Exit status: the script's; 124 the time
# was up, 125 the node itself failed, 77 something is missing (said on stderr).
# GI_XEN_ACCEL=tcg|kvm|auto: auto takes KVM where Xen starts with it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/xen-node/debs.sh
. "$here/debs.sh"

cmd='' out='' log='' limit=300 memory=3072 cpus=2 verbose='' forward='' add=() qemu_more=() stream='' xen_words=''
while [ $# -gt 0 ]; do
    case "$1" in
    --cmd) cmd=$2 && shift ;;
    --add) add+=("$2") && shift ;;
    --out) out=$2 && shift ;;
    --log) log=$2 && shift ;;
    --timeout) limit=$2 && shift ;;
    --memory) memory=$2 && shift ;;
    --cpus) cpus=$2 && shift ;;
    --qemu) qemu_more+=("$2") && shift ;;
    --forward) forward+=",hostfwd=tcp:127.0.0.1:${2%%:*}-:${2#*:}" && shift ;;
    --xen) xen_words=$2 && shift ;;
    --verbose) verbose=1 ;;
    --stream) stream=1 ;;
    *)
        sed -n '3,22s/^# \{0,1\}//p' "$0"
        [ "$1" = --help ] && exit 0
        exit 2
        ;;
    esac
    shift
done

[ -z "$forward" ] || qemu_more+=(-netdev "user,id=net0,restrict=on$forward" -device "virtio-net-pci,netdev=net0")

need_commands qemu-system-x86_64:qemu-system-x86 cpio:cpio setpriv:util-linux
dom0=$("$here/make-dom0.sh")
mkdir -p "$(xen_cache)"
# What a killed run left.
for old in "$(xen_cache)"/run-*; do
    pid=${old##*/run-}
    [ ! -d "$old" ] || kill -0 "${pid%%-*}" 2>/dev/null || rm -rf "$old"
done
work=$(mktemp -d "$(xen_cache)/run-$$-XXXXXX")
qemu_pid='' tail_pid=''
# shellcheck disable=SC2317
finish() {
    local rc=$?
    trap - EXIT INT TERM
    for pid in $qemu_pid $tail_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
    exit "$rc"
}
trap finish EXIT
trap 'exit 130' INT TERM

log=${log:-$(xen_cache)/xen-node.log}
: >"$log"
nonce=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')

# The caller's files are a second archive behind dom0's own.
stage=$work/stage
mkdir -p "$stage/node"
if [ -n "$cmd" ]; then
    install -m 755 "$cmd" "$stage/node/script"
else
    printf '#!/bin/sh\nxl info | grep -E "^(xen_version|virt_caps|total_memory)"\n' >"$stage/node/script"
    chmod 755 "$stage/node/script"
fi
for pair in ${add[@]+"${add[@]}"}; do
    mkdir -p "$stage/$(dirname "${pair#*:}")"
    cp -rL --preserve=mode,timestamps "${pair%%:*}" "$stage/${pair#*:}"
done
cp "$dom0/dom0.cpio" "$work/initrd"
(cd "$stage" && find . -mindepth 1 -print0 | cpio --quiet --null -o -H newc -R 0:0) >>"$work/initrd"

dom0_memory=$((memory / 3))
[ "$dom0_memory" -ge 1024 ] || dom0_memory=1024

start_qemu() { # ACCEL
    local processor
    case "$1" in
    kvm) processor=(-accel kvm -cpu host) ;;
    # Other processor models crash dom0's kernel early under TCG.
    tcg) processor=(-accel "tcg,thread=multi" -cpu "qemu64,+svm,+npt") ;;
    esac
    : >"$log"
    # Even if this script is killed, QEMU does not outlive it.
    setpriv --pdeathsig KILL qemu-system-x86_64 "${processor[@]}" -machine q35 -smp "$cpus" -m "$memory" \
        -nodefaults -display none -monitor none -no-reboot \
        -serial "file:$log" -serial "file:$work/out" \
        -kernel "$dom0/xen" \
        -append "console=com1 com1=115200,8n1 dom0_mem=${dom0_memory}M $xen_words" \
        -initrd "$dom0/vmlinux console=hvc0 quiet panic=1 node.nonce=$nonce node.limit=$limit,$work/initrd" \
        ${qemu_more[@]+"${qemu_more[@]}"} </dev/null >"$work/qemu.log" 2>&1 &
    qemu_pid=$!
}
stop_qemu() {
    kill -KILL "$qemu_pid" 2>/dev/null || true
    wait "$qemu_pid" 2>/dev/null || true
    qemu_pid=''
}
wait_for() { # SECONDS TEXT: until the log has it, while QEMU lives
    local end=$((SECONDS + $1))
    until grep -qaF "$2" "$log"; do
        [ "$SECONDS" -lt "$end" ] && kill -0 "$qemu_pid" 2>/dev/null || return 1
        sleep 0.2
    done
}

SECONDS=0
accel=${GI_XEN_ACCEL:-auto}
if [ "$accel" = auto ]; then
    # What was found is kept until this machine boots again.
    found=$(xen_cache)/accel-$(cat /proc/sys/kernel/random/boot_id)
    if [ -s "$found" ]; then
        accel=$(cat "$found")
    elif [ -w /dev/kvm ]; then
        start_qemu kvm
        if wait_for 5 "(XEN) Xen version" && wait_for 20 "XEN-NODE $nonce dom0-init"; then
            accel=kvm
        else
            accel=tcg
            stop_qemu
        fi
        echo "$accel" >"$found"
    else
        accel=tcg
    fi
fi
[ -n "$qemu_pid" ] || start_qemu "$accel"
if [ -n "$verbose" ]; then
    tail -n +1 -f "$log" >&2 &
    tail_pid=$!
fi

script_output() {
    stdbuf -oL tr -d '\r' | sed -u -n "/^XEN-NODE $nonce begin/,/^XEN-NODE $nonce end/p" |
        grep --line-buffered -av -e "^XEN-NODE $nonce" -e '^(XEN)' || true
}
if [ -n "$stream" ]; then
    # Ends with QEMU, but for the lines that are still under way.
    tail -n +1 -f -s 0.2 ---disable-inotify --pid="$qemu_pid" "$log" | script_output &
    stream_pid=$!
fi
# As long as QEMU lives; it ends when dom0 powers off, or when Xen or dom0 panics.
while kill -0 "$qemu_pid" 2>/dev/null; do
    if [ "$SECONDS" -ge "$limit" ]; then
        timed_out=1
        break
    fi
    sleep 0.2
done
stop_qemu
[ -z "$stream" ] || wait "$stream_pid" || true

[ -n "$stream" ] || script_output <"$log"
if [ -n "$out" ] && [ -s "$work/out" ]; then
    if grep -q "^XEN-NODE $nonce out-complete" "$work/out"; then
        mkdir -p "$out"
        tr -d '\r' <"$work/out" | grep -v '^XEN-NODE' | base64 -d | tar -C "$out" -xzf -
    else
        echo "xen-node: what the script left in /out did not come through" >&2
    fi
fi
if [ -n "${timed_out:-}" ]; then
    echo "xen-node: not finished after $limit s ($accel); console: $log" >&2
    tail -n 15 "$log" >&2
    exit 124
fi
status=$(tr -d '\r' <"$log" | sed -n "s/^XEN-NODE $nonce exit \([0-9]*\)\$/\1/p" | tail -n 1)
if [ -z "$status" ]; then
    echo "xen-node: the node ended without a status ($accel, ${SECONDS} s); console: $log" >&2
    cat "$work/qemu.log" >&2
    tail -n 30 "$log" >&2
    exit 125
fi
exit "$status"
