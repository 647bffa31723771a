# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# The host's files in a pod that does not see the host (docs/volumes.md). Also
# sourced by tests/e2e/volumes.sh, for zones of the local driver.
host=$scratch/host
config=$host/volumes/kubernetes.io~configmap/settings
shared=$host/volumes/kubernetes.io~empty-dir/shared
mkdir -p "$config" "$shared" "$host/plain/deep"
# As Kubernetes' AtomicWriter writes a ConfigMap.
version() { # NAME TEXT
    mkdir "$config/$1"
    echo "$2" >"$config/$1/colour"
    echo "$2" >"$config/$1/also"
    ln -sfn "$1" "$config/..data_tmp"
    mv -T "$config/..data_tmp" "$config/..data"
    ln -sfn ..data/colour "$config/colour"
    ln -sfn ..data/also "$config/also"
}
version ..one red
echo first >"$host/plain/deep/file"
chmod 777 "$shared"
: >"$host/why"
echo '127.0.0.1 localhost of-the-kubelet' >"$host/hosts"

run -d --keep --name volumes --mount "$config:/config:ro" --mount "$host/plain:/plain:ro" \
    --mount "$shared:/shared" --mount "$host/hosts:/etc/hosts" --mount "$host/why:/dev/termination-log" \
    "$image" -- /bin/sh -c 'echo mine >/shared/mine; while [ ! -e /shared/end ]; do sleep 1; done
        echo "it was time" >/dev/termination-log; exit 3' >/dev/null || fail "volumes: not started"
inside() { gpuictl exec volumes -- /bin/sh -c "$1"; }
[ "$(inside 'cat /config/colour')" = red ] || fail "the ConfigMap: $(inside 'ls -la /config /config/')"
[ "$(inside 'cat /plain/deep/file')" = first ] || fail "the plain folder: $(inside 'ls -laR /plain')"
inside 'grep -q of-the-kubelet /etc/hosts' || fail "/etc/hosts: $(inside 'cat /etc/hosts')"
! inside 'echo no >/config/colour' 2>/dev/null || fail "a read-only mount was written to"
! inside 'echo no >/plain/new' 2>/dev/null || fail "a read-only mount was written to"
[ -z "$(ls -A "$shared")" ] || fail "an emptyDir of the zone is on the host: $(ls -A "$shared")"

# What the kubelet changes arrives, all of it at once.
version ..two blue
rm -r "$config/..one"
echo second >"$host/plain/deep/file"
blue() { [ "$(inside 'cat /config/colour /config/also' | tr '\n' ' ')" = "blue blue " ]; }
until_ok 20 blue || fail "the change did not arrive: $(inside 'cat /config/colour')"
second() { [ "$(inside 'cat /plain/deep/file')" = second ]; }
until_ok 20 second || fail "the plain folder's change did not arrive"

# Writable files come back with the container's end.
inside 'echo 10.0.0.1 added >>/etc/hosts; touch /shared/end'
gone() { gpuictl ps --all | grep volumes | grep -qi exited; }
until_ok 30 gone || fail "it did not end: $(gpuictl ps --all)"
[ "$(cat "$host/why")" = "it was time" ] || fail "the termination message: $(cat "$host/why")"
grep -q '10.0.0.1 added' "$host/hosts" || fail "/etc/hosts did not come back: $(cat "$host/hosts")"
gpuictl rm -f volumes || fail "rm volumes"

rm -r "$host"
