# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# Zones whose agent is another (liar.c): one that never answers, one that floods, one that lies. Their pods
# fail and say why; a pod beside them is there all the time.
run -d --keep --name honest "$image" -- /bin/sleep 600 >/dev/null || fail "an honest pod"
kill_runtime
cp /run/gi/config.json /run/gi/ours.json
sed 's|/node/zone.erofs|/node/liar.erofs|; s|"machine_start_ms": [0-9]*|"machine_start_ms": 40000|' /run/gi/ours.json >/run/gi/liars.json
cp /run/gi/liars.json /run/gi/config.json
start_runtime

ended() { [ -e /run/gi/rc ]; }
beside() { timeout 20 gpuictl exec honest -- /bin/true && timeout 20 gpuictl ps --all; }
fails() { # NAME WHY
    rm -f /run/gi/rc
    {
        rc=0
        timeout 100 gpuictl run -q --name "$1" "$image" -- /bin/true </dev/null >/run/gi/said 2>&1 || rc=$?
        echo $rc >/run/gi/rc
    } &
    until ended; do
        beside >/run/gi/a 2>&1 || fail "beside the one that $1: $(cat /run/gi/a)"
        sleep 1
    done
    [ "$(cat /run/gi/rc)" = 125 ] || fail "$1: ended with $(cat /run/gi/rc): $(cat /run/gi/said)"
    grep -q "$2" /run/gi/said || fail "$1: why: $(cat /run/gi/said)"
    echo "$1: $(tail -n 1 /run/gi/said)"
    gpuictl rm -f "$1" >/dev/null 2>&1 || true
    [ "$(domains)" = 3 ] || fail "its domain is left"
}
fails silent 'answer.*DEADLINE_EXCEEDED'
fails floods 'protocol\|answer'
fails lies 'protocol\|answer'

kill_runtime
cp /run/gi/ours.json /run/gi/config.json
start_runtime
gpuictl exec honest -- /bin/true || fail "the honest pod after the restart"
