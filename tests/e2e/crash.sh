#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of the runtime at random moments while pods are made, run and end.
# Containers whose start was acknowledged must run on to their own end, with
# the right exit code and every log line exactly once; in the end nothing is
# left over.
#   crash.sh BUILD [ROUNDS [SEED]]
set -euo pipefail
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
rounds=${2:-20}
RANDOM=${3:-$$}
seed=${3:-$$}
trap node_trap EXIT
node_begin "$1"
start_registry
push_demo
start_proxy
start_runtime 30
gpuictl pull -q "$demo_image" >/dev/null
mkdir "$NODE/jobs"
echo "seed $seed, $rounds rounds"

# one_pod NAME LINES PAUSE CODE: a container that writes LINES numbered lines.
# Its id goes to jobs/NAME.id when the start was acknowledged.
one_pod() {
    gpuictl --timeout 60 run -q -d --name "$1" "$demo_image" /bin/sh -c \
        "i=0; while [ \$i -lt $2 ]; do echo line \$i; i=\$((i+1)); sleep $3; done; exit $4" \
        >"$NODE/jobs/$1.id" 2>"$NODE/jobs/$1.err" || rm -f "$NODE/jobs/$1.id"
    echo "$2 $4" >"$NODE/jobs/$1.expect"
}

jobs=()
for ((round = 1; round <= rounds; round++)); do
    for n in a b; do
        one_pod "crash-$round-$n" $((20 + RANDOM % 60)) "0.0$((1 + RANDOM % 5))" $((RANDOM % 100)) &
        jobs+=($!)
    done
    sleep "$((RANDOM % 2)).$((RANDOM % 10))"
    kill_runtime
    sleep "0.$((RANDOM % 4))"
    start_runtime 60
done
for pid in "${jobs[@]}"; do
    wait "$pid" || true
done

started=0 refused=0
for expect in "$NODE"/jobs/*.expect; do
    name=$(basename "$expect" .expect)
    if [ ! -s "$NODE/jobs/$name.id" ]; then
        refused=$((refused + 1))
        continue
    fi
    started=$((started + 1))
    id=$(cat "$NODE/jobs/$name.id")
    read -r lines code <"$expect"
    gone() { gpuictl --json inspect "$id" >"$NODE/status" && grep -q CONTAINER_EXITED "$NODE/status"; }
    wait_for 60 gone || fail "$name: not ended: $(grep '"state"' "$NODE/status" || cat "$NODE/jobs/$name.err")"
    expect_equal "$code" "$(sed -n 's/^ *"exitCode": \([0-9-]*\),*$/\1/p' "$NODE/status")" "$name: exit code"
    gpuictl logs "$id" >"$NODE/log" || fail "$name: no log"
    seq -f 'line %g' 0 $((lines - 1)) | cmp -s - "$NODE/log" ||
        fail "$name: of $lines log lines, $(wc -l <"$NODE/log") are there, the first difference: $(
            diff <(seq -f 'line %g' 0 $((lines - 1))) "$NODE/log" | sed -n 2p)"
done
echo "$started containers survived $rounds kills; $refused starts were not acknowledged"
[ "$started" -ge "$rounds" ] || fail "too few starts were acknowledged for this to mean much"

# Pods of unacknowledged starts are known to the runtime: --all finds them.
gpuictl rm -f --all >/dev/null
expect_equal "" "$(gpuictl ps -aq)" "pods after removing all"
left=$(node_processes | grep -vE " (docker-registry|gpu-proxy|gpu-isolated-r.*)$" || true)
expect_equal "" "$left" "processes after removing all"
left=$(grep -F "$NODE" /proc/self/mountinfo | awk '{print $5}' | grep -v '/images/' || true)
expect_equal "" "$left" "mounts after removing all"
