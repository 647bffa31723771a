# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash disable=SC2154,SC2016,SC2034
# A pod's domain gets more and less memory and processors while it runs. The step's word: its
# type, pvh where there is none.
sed -i "s/  \"machine_driver\": \"xen\",/&\n  \"xen_zone_type\": \"${arg:-pvh}\",\n  \"xen_resize_factor\": 2,/" \
    /run/gi/config.json
kill_runtime
start_runtime
run -d --keep --name sized --memory 160Mi --cpus 1 "$image" -- /bin/sleep 600 >/dev/null || fail "not started"
# What Xen counts, MiB, and what its kernel says that programs can have.
domain() { xl list | awk '/gi-gi-/ { print $3, $4; exit }'; }
total() { gpuictl exec sized -- /bin/busybox awk '/^MemTotal/ { printf "%d\n", $2 / 1024 }' /proc/meminfo; }
cpus() { gpuictl exec sized -- /bin/busybox nproc; }
had=$(domain)
memory=${had% *} t1=$(total)
[ "${had#* } $(cpus)" = "1 1" ] || fail "processors at first: $had, inside $(cpus)"

gpuictl update --memory 288Mi --cpus 2 sized >/dev/null || fail "more"
t2=$(total)
[ "$(domain)" = "$((memory + 128)) 2" ] || fail "more: $had became $(domain)"
case $((t2 - t1)) in
12[4-9] | 13[0-2]) ;;
*) fail "more, inside: $t1 became $t2" ;;
esac
[ "$(cpus)" = 2 ] || fail "processors, inside: $(cpus)"

# What is in use does not come back, and what was refused is as it was.
gpuictl exec sized -- /bin/busybox dd if=/dev/zero of=/dev/shm/held bs=1M count=60 2>/dev/null || fail "hold"
hold=$(gpuictl exec sized -- /bin/busybox awk '/^MemFree/ { print $2 }' /proc/meminfo)
! gpuictl update --memory 16Mi sized 2>/run/gi/why || fail "memory in use came back ($hold KiB free): $(domain)"
grep -q 'uses more than' /run/gi/why || fail "memory in use: $(cat /run/gi/why)"
set_back() { [ "$(total)" -ge $((t2 - 4)) ]; }
until_ok 10 set_back || fail "not set back: $(domain)"
! gpuictl update --memory 1Gi sized 2>/run/gi/why || fail "more than it was made for"
grep -q 'MiB of memory at most.*xen_resize_factor' /run/gi/why || fail "too much memory: $(cat /run/gi/why)"
! gpuictl update --cpus 3 sized 2>/run/gi/why || fail "more processors than it was made for"
grep -q 'processors at most.*xen_resize_factor' /run/gi/why || fail "too many processors: $(cat /run/gi/why)"

gpuictl exec sized -- /bin/busybox rm /dev/shm/held || fail "let go"
gpuictl update --memory 160Mi --cpus 1 sized >/dev/null || fail "less"
[ "$(domain) $(cpus)" = "$had 1" ] || fail "less: $had is $(domain), inside $(cpus)"
sed -i '/xen_resize_factor/d; /xen_zone_type/d' /run/gi/config.json
gpuictl rm -f sized >/dev/null || fail "rm"
kill_runtime
start_runtime
