# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# A whole node in one temporary folder: registry, gpu-proxy with the simulated
# GPU, runtime with the `local` machine driver. Used by ./quickstart, the
# end-to-end tests and the CRI benchmark. Sourced, not run.
#
#   node_begin BUILD      makes $NODE; everything below goes there
#   node_end              stops what was started (by pid), removes all, says
#                         what is left over (and fails then)
#
# Programs are taken from BUILD/bin and BUILD/lib. Only root can use it.
# shellcheck disable=SC2034

NODE=             # the temporary folder
NODE_BUILD=       # where the programs are
NODE_REASON=      # why the last function here failed, in one line
NODE_LOG=         # the log that explains it
registry_pid=
proxy_pid=
runtime_pid=
registry_host=
NODE_PROGRAMS=()   # more programs for the demo image
NODE_DEMO_TAGS=(1) # of the demo image

node_fail() {
    NODE_REASON=$1
    NODE_LOG=${2:-}
    return 1
}

named_netns() {
    find /run/netns -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort || true
}

node_begin() {
    NODE_BUILD=$1
    NODE=$(mktemp -d /tmp/gi-node.XXXXXX)
    mkdir -p "$NODE/logs" "$NODE/etc" "$NODE/run" "$NODE/state"
    export CONTAINER_RUNTIME_ENDPOINT="unix://$NODE/run/runtime.sock"
    export GPUICTL_LOG_ROOT="$NODE/pod-logs"
    NODE_NETNS_BEFORE=$(named_netns)
}

# wait_for SECONDS COMMAND...: until COMMAND succeeds. wait_pid: its process must live on.
wait_for() {
    local tries=$(($1 * 20))
    shift
    while [ "$tries" -gt 0 ]; do
        "$@" >/dev/null 2>&1 && return 0
        [ -z "${wait_pid:-}" ] || kill -0 "$wait_pid" 2>/dev/null || return 1
        sleep 0.05
        tries=$((tries - 1))
    done
    return 1
}

# A TCP port nobody listens on, from below those that the kernel gives to connections: one of
# these may be taken before it is listened on.
free_port() {
    local port
    for _ in {1..50}; do
        port=$((12000 + RANDOM % 20000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return 0
        fi
    done
    return 1
}

# Ends process $1: politely, then (after $2 seconds) not.
end_process() {
    local pid=$1 tries=$((${2:-10} * 20))
    [ -n "$pid" ] || return 0
    kill -TERM "$pid" 2>/dev/null || true
    while [ "$tries" -gt 0 ] && kill -0 "$pid" 2>/dev/null; do
        sleep 0.05
        tries=$((tries - 1))
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

# --- registry ---------------------------------------------------------------

answers_http() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf 'GET /v2/ HTTP/1.0\r\n\r\n' >&3
        read -r -t 2 line <&3
        [[ $line == *" 200 "* ]]
    ) 2>/dev/null
}

# A port that was free may be another's by the time docker-registry listens on it.
start_registry() {
    local try
    for try in 1 2 3 4 5; do
        start_registry_once && return 0
        grep -q 'address already in use' "$NODE/logs/registry.log" || return 1
    done
    return 1
}

start_registry_once() {
    local port
    port=$(free_port) || { node_fail "no free port"; return 1; }
    registry_host=127.0.0.1:$port
    cat >"$NODE/etc/registry.yml" <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $NODE/registry}
http:
  addr: $registry_host
EOF
    docker-registry serve "$NODE/etc/registry.yml" >"$NODE/logs/registry.log" 2>&1 &
    registry_pid=$!
    wait_pid=$registry_pid wait_for 10 answers_http "$port" ||
        { node_fail "docker-registry does not answer" "$NODE/logs/registry.log"; return 1; }
}

# --- images -----------------------------------------------------------------

# make_rootfs DIR: busybox and the demo with the glibc it needs, and with ldconfig, as images have it.
make_rootfs() {
    local root=$1 lib applet
    mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/root" "$root/lib64" \
        "$root/lib/x86_64-linux-gnu"
    chmod 1777 "$root/tmp"
    cp /bin/busybox "$root/bin/busybox"
    for applet in sh ls cat echo sleep true false id ps head seq env dd mount wc mknod mkdir tr; do
        ln -sf busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nuser:x:1000:\n' >"$root/etc/group"
    cp "$NODE_BUILD/bin/gpu-demo" "$root/bin/gpu-demo"
    # Its libraries, but not the CUDA one: that is the pod's.
    for lib in $(ldd "$root/bin/gpu-demo" | grep -v libcuda | grep -o '/[^ ]*' | sort -u) \
        /lib/x86_64-linux-gnu/lib{dl,pthread,rt}.so.*; do
        case $lib in
        */ld-linux*) cp -L "$lib" "$root/lib64/" ;;
        *) cp -L "$lib" "$root/lib/x86_64-linux-gnu/" ;;
        esac
    done
    cp /sbin/ldconfig "$root/bin/"
    /sbin/ldconfig -r "$root"
}

# add_program ROOT FILE...: a program with the libraries it needs.
add_program() {
    local root=$1 file lib
    shift
    for file in "$@"; do
        cp "$file" "$root/bin/"
        for lib in $(ldd "$file" | grep -o '/[^ ]*' | sort -u); do
            mkdir -p "$root${lib%/*}"
            cp -L "$lib" "$root$lib"
        done
    done
}

# push_demo: the demo image in the registry, by all of its tags; the first name in $demo_image.
push_demo() {
    local tag
    demo_image=$registry_host/gpu-demo:1
    make_rootfs "$NODE/rootfs"
    add_program "$NODE/rootfs" ${NODE_PROGRAMS[@]+"${NODE_PROGRAMS[@]}"}
    for tag in "${NODE_DEMO_TAGS[@]}"; do
        "$NODE_BUILD/bin/gi-push" --root-owned --cmd /bin/gpu-demo --env PATH=/bin \
            "http://${demo_image%:1}:$tag" "$NODE/rootfs" >"$NODE/logs/push.log" 2>&1 ||
            { node_fail "the demo image could not be pushed" "$NODE/logs/push.log"; return 1; }
    done
    rm -rf "$NODE/rootfs"
}

# push_other: an image with a file of its own, /which; its name in $other_image.
push_other() {
    other_image=$registry_host/other:1
    mkdir -p "$NODE/other"
    echo other >"$NODE/other/which"
    "$NODE_BUILD/bin/gi-push" --root-owned "http://$other_image" "$NODE/other" >"$NODE/logs/push.log" 2>&1 ||
        { node_fail "the other image could not be pushed" "$NODE/logs/push.log"; return 1; }
    rm -rf "$NODE/other"
}

# --- gpu-proxy --------------------------------------------------------------

proxy_stats() {
    "$NODE_BUILD/bin/gpuctl" --control "$NODE/run/gpu-proxy.sock" "$@" show
}

start_proxy() {
    "$NODE_BUILD/bin/gpu-proxy" --driver "$NODE_BUILD/lib/libcuda-sim.so" \
        --control "$NODE/run/gpu-proxy.sock" --zones-dir "$NODE/run/zones" \
        >>"$NODE/logs/gpu-proxy.log" 2>&1 &
    proxy_pid=$!
    wait_pid=$proxy_pid wait_for 10 proxy_stats ||
        { node_fail "gpu-proxy does not answer" "$NODE/logs/gpu-proxy.log"; return 1; }
}

# --- runtime ----------------------------------------------------------------

gpuictl() {
    "$NODE_BUILD/bin/gpuictl" "$@"
}

write_config() {
    cat >"$NODE/etc/config.json" <<EOF
{
  "socket": "$NODE/run/runtime.sock",
  "run_dir": "$NODE/run",
  "state_dir": "$NODE/state",
  "machine_driver": "local",
  "agent_path": "$NODE_BUILD/bin/gpu-isolated-agent",
  "libvgpu_path": "$NODE_BUILD/lib/libcuda.so.1",
  "gpu_proxy_socket": "$NODE/run/gpu-proxy.sock",
  "network": "${NODE_NETWORK:-none}",
  "cni_conf_dir": "$NODE/etc/net.d",
  "registries": [{"host": "$registry_host", "plain_http": true}]
}
EOF
}

# start_runtime SECONDS: how long it may take.
start_runtime() {
    [ -e "$NODE/etc/config.json" ] || write_config
    "$NODE_BUILD/bin/gpu-isolated-runtime" --config "$NODE/etc/config.json" \
        >>"$NODE/logs/runtime.log" 2>&1 &
    runtime_pid=$!
    wait_pid=$runtime_pid wait_for "$1" gpuictl version ||
        { node_fail "the runtime does not answer" "$NODE/logs/runtime.log"; return 1; }
}

# The runtime dies as in a power cut of its own; its pods live on.
kill_runtime() {
    kill -KILL "$runtime_pid"
    wait "$runtime_pid" 2>/dev/null || true
    runtime_pid=
}

# --- the end ----------------------------------------------------------------

# Processes that belong to this node: by command line, or by a file below $NODE
# that they run, are in, or have as root. One "pid name" a line.
node_processes() {
    local dir pid what
    for dir in /proc/[0-9]*; do
        pid=${dir#/proc/}
        if [ "$pid" = "$BASHPID" ] || [ "$pid" = $$ ]; then
            continue
        fi
        what=$({ tr '\0' ' ' <"$dir/cmdline"; } 2>/dev/null) || continue
        what+=" $(readlink "$dir/exe" "$dir/cwd" "$dir/root" 2>/dev/null | tr '\n' ' ')" || true
        case $what in
        *"$NODE"*) echo "$pid $(cat "$dir/comm" 2>/dev/null || true)" ;;
        esac
    done
}

node_leftovers() {
    node_processes | sed 's/^/process /'
    grep -F "$NODE" /proc/self/mountinfo | awk '{print "mount " $5}' || true
    comm -13 <(echo "$NODE_NETNS_BEFORE") <(named_netns) |
        sed 's/^/network namespace /'
    [ ! -e "$NODE" ] || find "$NODE" -mindepth 1 -maxdepth 2 | sed 's/^/file /' | head -n 5
}

# Pods first (through CRI), then the daemons, then files.
node_end() {
    local left
    [ -n "$NODE" ] || return 0
    if [ -n "$runtime_pid" ] && kill -0 "$runtime_pid" 2>/dev/null; then
        gpuictl --timeout 30 rm -f --all >/dev/null 2>>"$NODE/logs/end.log" || true
    fi
    end_process "$runtime_pid"
    end_process "$proxy_pid"
    end_process "$registry_pid" 2
    runtime_pid='' proxy_pid='' registry_pid=''
    rm -rf --one-file-system "$NODE" 2>/dev/null || true
    left=$(node_leftovers)
    NODE=
    [ -z "$left" ] || { node_fail "left behind: $(head -n 3 <<<"$left" | paste -sd, -)"; return 1; }
}

# What the logs of this node say last, for a person who has to know.
node_show_logs() {
    local log
    for log in ${NODE_LOG:-"$NODE"/logs/*.log}; do
        [ -s "$log" ] || continue
        echo "--- the end of ${log##*/}"
        tail -n 15 "$log"
    done
}

# --- for tests --------------------------------------------------------------

# Skips (77) with the reason where a node can't be had.
need_node() {
    [ "$(id -u)" -eq 0 ] || { echo "needs root: pods are made of namespaces and mounts"; exit 77; }
    local program
    for program in docker-registry busybox; do
        command -v "$program" >/dev/null || { echo "needs $program"; exit 77; }
    done
    command -v runc >/dev/null || command -v crun >/dev/null || { echo "needs crun or runc"; exit 77; }
}

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

fail() {
    NODE_REASON=$1
    exit 1
}

expect_equal() {
    [ "$1" = "$2" ] || fail "$3: expected \"$1\", got \"$2\""
}

# Waits for process $1, a child, at most $2 seconds.
wait_end() {
    local tries=$(($2 * 20))
    while [ "$tries" -gt 0 ] && kill -0 "$1" 2>/dev/null; do
        sleep 0.05
        tries=$((tries - 1))
    done
    [ "$tries" -gt 0 ]
}

# A test's EXIT trap.
node_trap() {
    local rc=$?
    trap - EXIT
    set +e
    [ "$rc" -eq 0 ] || [ -z "$NODE" ] || node_show_logs
    local reason=$NODE_REASON
    NODE_REASON=
    if ! node_end && [ "$rc" -eq 0 ]; then
        rc=1
        reason=$NODE_REASON
    fi
    [ "$rc" -eq 0 ] || echo "FAILED: ${reason:-a command failed}"
    exit "$rc"
}

# push_hostile ATTACK: an image whose layer tries to write outside of itself.
push_hostile() {
    "$NODE_BUILD/bin/e2e-hostile-tar" "$1" "$NODE" >"$NODE/hostile.tar"
    "$NODE_BUILD/bin/gi-push" "http://$registry_host/hostile-$1:1" "$NODE/hostile.tar" \
        >"$NODE/logs/push.log" 2>&1 || node_fail "the hostile image could not be pushed" "$NODE/logs/push.log"
}
