#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kubernetes' own test of CRI runtimes, critest (kubernetes-sigs/cri-tools), against a whole node in a
# network namespace of its own. critest is not part of this tree and is built elsewhere; the images it
# names are stand-ins of busybox, in a registry on loopback that is the mirror of the published ones.
#   critest.sh BUILD CRITEST [critest's options]      e.g. --ginkgo.focus=Networking
# CRITEST_SH_COMMAND is run on that node instead, if given; it finds the sockets in its environment.
# BUSYBOX names another busybox than the node's. Debian's static one runs ls and the like
# within its shell, so that a masked /bin/ls changes nothing; the one of package busybox doesn't.
# What fails and why is in docs/conformance.md.
set -euo pipefail
if [ -z "${CRITEST_SH_INSIDE:-}" ]; then
    CRITEST_SH_INSIDE=1 exec unshare --net --mount --propagation private -- "$0" "$@"
fi
# As on a node: what is mounted later is seen in pods' machines, too.
mount --make-rshared /
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
need_node
critest=${2:-}
[ -x "$critest" ] || { echo "needs critest: $0 BUILD CRITEST"; exit 77; }
for tool in /usr/lib/cni/bridge /usr/sbin/iptables /usr/sbin/ip curl cc; do
    command -v "$tool" >/dev/null || { echo "needs $tool"; exit 77; }
done
trap node_trap EXIT
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
node_begin "$(realpath "$1")"
shift 2
NODE_NETWORK=cni
busybox=${BUSYBOX:-$(command -v busybox)}
staging='k8s-staging-cri-tools'
e2e='e2e-test-images'

# --- stand-in images --------------------------------------------------------

# base DIR: busybox with all its applets, and the users that critest asks for.
base() {
    local root=$1 applet lib
    mkdir -p "$root"/{bin,etc,tmp,root,var/run,www,home}
    chmod 1777 "$root/tmp"
    cp "$busybox" "$root/bin/busybox"
    mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu"
    for lib in $(ldd "$busybox" 2>/dev/null | grep -o '/[^ ]*' | sort -u); do
        case $lib in
        */ld-linux*) cp -L "$lib" "$root/lib64/" ;;
        *) cp -L "$lib" "$root/lib/x86_64-linux-gnu/" ;;
        esac
    done
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -f "$root/bin/busybox" "$root/bin/$applet"
    done
    # Debian's busybox lacks two.
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nexec pidof "$1"\n' >"$root/bin/pgrep"
    printf '#!/bin/sh\nexec cat /proc/sysvipc/shm\n' >"$root/bin/ipcs"
    chmod 755 "$root/bin/pgrep" "$root/bin/ipcs"
    cat >"$root/etc/passwd" <<END
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/sh
default-user:x:1000:1000::/home:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
END
    cat >"$root/etc/group" <<END
root:x:0:
www-data:x:33:
default-user:x:1000:
group-defined-in-image:x:50000:default-user
END
    echo welcome >"$root/www/index.html"
}

# variant NAME: a copy of base that differs, so that its image id does.
variant() {
    cp -a "$NODE/base" "$NODE/$1"
    echo "$1" >"$NODE/$1/etc/name"
}

# push REPOSITORY:TAG FOLDER [options of gi-push]
push() {
    local name=$1 root=$2
    shift 2
    "$NODE_BUILD/bin/gi-push" --root-owned --env PATH=/bin "$@" "http://$registry_host/$name" \
        "$NODE/$root" >>"$NODE/logs/push.log" 2>&1 ||
        { node_fail "$name could not be pushed" "$NODE/logs/push.log"; return 1; }
}

digest() {
    curl -fsSI -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
        "http://$registry_host/v2/$1/manifests/$2" | tr -d '\r' |
        sed -n 's/^docker-content-digest: sha256://Ip'
}

# web PORT NAME: a server's command; its first process shows what nginx's would.
web() {
    echo "echo \$\$ >/var/run/nginx.pid; echo $2; busybox httpd -f -p $1 -h /www & wait # master process"
}

push_images() {
    local n
    base "$NODE/base"
    push $e2e/busybox:1.29-2 base --cmd sh
    variant latest && push $staging/test-image-latest:latest latest --cmd sh
    variant tag && push $staging/test-image-tag:test tag --cmd sh
    variant all && push $staging/test-image-tag:all all --cmd sh
    variant digest && push $staging/test-image-digest:any digest --cmd sh
    variant pause && push pause:3.9 pause --cmd sleep --cmd 1000
    for n in 1 2 3; do
        variant "n$n" && push "$staging/test-image-$n:latest" "n$n" --cmd sh
        push "$staging/test-image-tags:$n" tag --cmd sh --env SAME=1
    done
    push $staging/test-image-user-uid:latest base --user 1002
    push $staging/test-image-user-uid-group:latest base --user 1003:users
    push $staging/test-image-user-username:latest base --user www-data
    push $staging/test-image-user-username-group:latest base --user www-data:100
    push $staging/test-image-predefined-group:latest base --user 1000 --cmd sh
    push $e2e/nginx:1.14-2 base --cmd sh --cmd -c --cmd "$(web 80 nginx)"
    push $e2e/httpd:2.4.39-4 base --cmd sh --cmd -c --cmd "$(web 80 httpd)"
    push $staging/hostnet-nginx-amd64:latest base --cmd sh --cmd -c --cmd "$(web 12003 nginx)"
    variant nnp
    cc -static -x c -o "$NODE/nnp/bin/nnp" - <<END
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("Effective uid: %d\n", (int)geteuid()); }
END
    chmod 4755 "$NODE/nnp/bin/nnp"
    push $e2e/nonewprivs:1.3 nnp --cmd /bin/nnp
}

# --- the node ---------------------------------------------------------------

start_registry
push_images
start_proxy
mkdir -p "$NODE/etc/net.d"
cat >"$NODE/etc/net.d/10-test.conflist" <<CONF
{"cniVersion": "1.0.0", "name": "testnet", "plugins": [
  {"type": "bridge", "bridge": "gi-cri0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$NODE/ipam",
            "ranges": [[{"subnet": "10.89.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}
CONF
write_config
mirrors=
for host in registry.k8s.io k8s.gcr.io gcr.io; do
    mirrors+="{\"host\": \"$host\", \"mirrors\": [\"http://$registry_host\"]},"
done
sed -i "s|\"registries\": .*|\"registries\": [${mirrors%,}]|" "$NODE/etc/config.json"
start_runtime 30

# One image is named by its digest, which no stand-in can have: it gets the stand-in's.
published=9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf
sed "s/$published/$(digest $staging/test-image-digest any)/g" "$critest" >"$NODE/critest"
chmod 755 "$NODE/critest"
if [ -n "${CRITEST_SH_COMMAND:-}" ]; then # something else: crictl, a shell
    export NODE IMAGE_SERVICE_ENDPOINT=$CONTAINER_RUNTIME_ENDPOINT
    bash -c "$CRITEST_SH_COMMAND"
    exit
fi
"$NODE/critest" --runtime-endpoint "$CONTAINER_RUNTIME_ENDPOINT" \
    --image-endpoint "$CONTAINER_RUNTIME_ENDPOINT" --ginkgo.no-color "$@" ||
    fail "critest found failures"
