/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fields of a pod's and a container's configuration do, seen from inside
 * and in what status says. Started by fields.sh, on a node with pod networks.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "podkit.h"
#include "textpb.h"

#define POD_CONFIG                                                                                 \
    "metadata { name: fields uid: uid-fields namespace: here attempt: 3 }"                         \
    " hostname: the-host log_directory: '%s/fields'"                                               \
    " dns_config { servers: 10.0.0.10 servers: 'fd00::10' searches: a.example searches: b.example" \
    "   options: 'ndots:5' options: edns0 }"                                                       \
    " labels { key: app value: web } annotations { key: note value: 'some text' }"                 \
    " port_mappings { protocol: TCP container_port: 7000 host_port: %s }"                          \
    " linux { cgroup_parent: '%s'"                                                                 \
    "   sysctls { key: kernel.shm_rmid_forced value: 1 }"                                          \
    "   sysctls { key: net.ipv4.ip_unprivileged_port_start value: 80 }"                            \
    "   resources { memory_limit_in_bytes: 409600000 cpu_period: 100000 cpu_quota: 150000 }"       \
    "   overhead { memory_limit_in_bytes: 24576000 } }"
#define SLEEPS "command: /bin/sleep args: 1000 "

static struct podkit kit;
static char pod[80];
static const char *volume, *host_port, *parent, *subnet;

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct gi_error ok_err_ = GI_ERROR_INIT, *err = &ok_err_;                                  \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", gi_code_name(err->code), err->message);                             \
    } while (0)

/* Takes REQUEST. */
static int call(const char *method, void *request, void *ret, struct gi_error *err)
{
    struct gi_cri_call_options opt = {.timeout_ms = 60000};
    int rc = gi_cri_call(kit.client, method, request, &opt, ret, err);
    podkit_free(request);
    return rc;
}

static int run_pod(const char *config, char ret_id[80], struct gi_error *err)
{
    Runtime__V1__RunPodSandboxResponse *r = NULL;
    int rc = call("RunPodSandbox",
                  textpb(&runtime__v1__run_pod_sandbox_request__descriptor,
                         "runtime_handler: gpu-isolated config { %s }", config),
                  &r, err);
    if (rc == 0)
        snprintf(ret_id, 80, "%s", r->pod_sandbox_id);
    podkit_free(r);
    return rc;
}

static int setup(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    char config[2048];
    volume = getenv("TEST_VOLUME");
    host_port = getenv("TEST_HOST_PORT");
    parent = getenv("TEST_CGROUP_PARENT");
    subnet = getenv("TEST_SUBNET");
    if (podkit_open(&kit) < 0 || !volume || !parent || !subnet || !host_port)
        return -1;
    snprintf(config, sizeof(config), POD_CONFIG, kit.log_root, host_port, parent);
    if (run_pod(config, pod, &err) < 0) {
        fprintf(stderr, "no pod: %s\n", err.message);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    int rc =
        podkit_stop_pod(&kit, pod, &err) < 0 || podkit_remove_pod(&kit, pod, &err) < 0 ? -1 : 0;
    if (rc < 0)
        fprintf(stderr, "removing the pod: %s\n", err.message);
    podkit_close(&kit);
    return rc;
}

/* ---- containers ---- */

static int create(const char *name, const char *config, char id[80], struct gi_error *err)
{
    Runtime__V1__CreateContainerResponse *r = NULL;
    int rc = call("CreateContainer",
                  textpb(&runtime__v1__create_container_request__descriptor,
                         "pod_sandbox_id: %s config { metadata { name: %s } image { image: '%s' } "
                         "%s } sandbox_config { metadata { name: fields } }",
                         pod, name, kit.image, config),
                  &r, err);
    if (rc == 0)
        snprintf(id, 80, "%s", r->container_id);
    podkit_free(r);
    return rc;
}

static void start(const char *name, const char *config, char id[80])
{
    struct gi_error err = GI_ERROR_INIT;
    id[0] = '\0';
    if (create(name, config, id, &err) < 0 || podkit_start(&kit, id, &err) < 0)
        fail_msg("%s: %s", name, err.message);
}

/* What SCRIPT writes in container ID, without the last newline. */
static char *out_of(const char *id, const char *script)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__ExecSyncRequest *q = textpb(&runtime__v1__exec_sync_request__descriptor,
                                             "container_id: %s cmd: /bin/sh cmd: -c", id);
    Runtime__V1__ExecSyncResponse *r = NULL;
    q->cmd = realloc(q->cmd, 3 * sizeof(*q->cmd)); /* a script has quotes */
    assert_non_null(q->cmd);
    q->cmd[q->n_cmd++] = strdup(script);
    if (call("ExecSync", q, &r, &err) < 0)
        fail_msg("%s: %s", script, err.message);
    size_t len = r->stdout.len;
    if (len > 0 && r->stdout.data[len - 1] == '\n')
        len--;
    char *out = strndup(len ? (const char *)r->stdout.data : "", len);
    podkit_free(r);
    assert_non_null(out);
    return out;
}

static void assert_out(const char *id, const char *script, const char *want)
{
    char *got = out_of(id, script);
    if (strcmp(got, want) != 0)
        fail_msg("%s: \"%s\", not \"%s\"", script, got, want);
    free(got);
}

/* A container with FIELDS, in which SCRIPT writes WANT. */
static void see(const char *fields, const char *script, const char *want)
{
    char id[80], config[1024];
    snprintf(config, sizeof(config), SLEEPS "%s", fields);
    start("seen", config, id);
    assert_out(id, script, want);
    OK(podkit_remove(&kit, id, err));
}

/* ---- the pod ---- */

static void the_pods_files_and_names(void **state)
{
    char id[80];
    start("c", SLEEPS, id);
    assert_out(id, "cat /proc/sys/kernel/hostname /etc/hostname", "the-host\nthe-host");
    assert_out(id, "cat /etc/resolv.conf",
               "search a.example b.example\nnameserver 10.0.0.10\nnameserver fd00::10\n"
               "options ndots:5 edns0");
    char look[100];
    snprintf(look, sizeof(look), "busybox grep -c '^%s.*the-host$' /etc/hosts", subnet);
    assert_out(id, look, "1");
    assert_out(id, "cat /proc/sys/kernel/shm_rmid_forced", "1");
    assert_out(id, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "80");
    OK(podkit_remove(&kit, id, err));
}

static Runtime__V1__PodSandboxStatusResponse *pod_status(void)
{
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__PodSandboxStatusResponse *r = NULL;
    if (call("PodSandboxStatus",
             textpb(&runtime__v1__pod_sandbox_status_request__descriptor,
                    "pod_sandbox_id: %s verbose: true", pod),
             &r, &err) < 0)
        fail_msg("%s", err.message);
    return r;
}

static void the_pods_status(void **state)
{
    Runtime__V1__PodSandboxStatusResponse *r = pod_status();
    const Runtime__V1__PodSandboxStatus *s = r->status;
    assert_string_equal(s->metadata->name, "fields");
    assert_string_equal(s->metadata->uid, "uid-fields");
    assert_string_equal(s->metadata->namespace_, "here");
    assert_int_equal(s->metadata->attempt, 3);
    assert_string_equal(gi_cri_map_get(s->labels, s->n_labels, "app"), "web");
    assert_string_equal(gi_cri_map_get(s->annotations, s->n_annotations, "note"), "some text");
    assert_string_equal(s->runtime_handler, "gpu-isolated");
    assert_int_equal(strncmp(s->network->ip, subnet, strlen(subnet)), 0);
    assert_true(r->n_info > 0);
    podkit_free(r);
}

/* The file of a cgroup of the pod ("") or of a container below it, in whichever hierarchy. */
static void assert_cgroup(const char *id, const char *v1, const char *v2, const char *want)
{
    char path[100] = "";
    if (!kit.local)
        return; /* it is a zone's own */
    if (*id)
        snprintf(path, sizeof(path), "/%s*", id);
    char command[512], got[64] = "";
    snprintf(command, sizeof(command),
             "find /sys/fs/cgroup -path '*%s/%s%s/%s' -o -path '*%s/%s%s/%s' | head -n 1 | "
             "xargs -r cut -d ' ' -f 1",
             parent, pod, path, v1, parent, pod, path, v2);
    FILE *f = popen(command, "re");
    assert_non_null(f);
    if (fgets(got, sizeof(got), f))
        got[strcspn(got, "\n")] = '\0';
    pclose(f);
    if (strcmp(got, want) != 0)
        fail_msg("%s: \"%s\", not \"%s\"", v1, got, want);
}

static void limits(void **state)
{
    char id[80];
    assert_cgroup("", "memory.limit_in_bytes", "memory.max", "434176000");
    assert_cgroup("", "cpu.cfs_quota_us", "cpu.max", "200000");
    start("limits",
          SLEEPS "linux { resources { memory_limit_in_bytes: 67108864 cpu_period: 50000 "
                 "cpu_quota: 25000 cpu_shares: 512 oom_score_adj: 500 } }",
          id);
    assert_cgroup(id, "memory.limit_in_bytes", "memory.max", "67108864");
    assert_cgroup(id, "cpu.cfs_quota_us", "cpu.max", "25000");
    assert_out(id, "cat /proc/1/oom_score_adj", "500");
    Runtime__V1__ContainerStatusResponse *r = NULL;
    OK(podkit_status(&kit, id, &r, err));
    const Runtime__V1__LinuxContainerResources *l = r->status->resources->linux;
    assert_int_equal(l->cpu_shares, 512);
    assert_int_equal(l->cpu_period, 50000);
    assert_int_equal(l->oom_score_adj, 500);
    podkit_free(r);
    OK(podkit_remove(&kit, id, err));
}

static void a_port_of_the_host_is_the_pods(void **state)
{
    char id[80], command[512];
    start("server",
          "command: /bin/sh args: -c args: 'echo pong >/tmp/index.html; exec busybox httpd -f -p "
          "7000 -h /tmp'",
          id);
    snprintf(command, sizeof(command),
             "for i in $(seq 50); do timeout 5 bash -c 'exec 3<>/dev/tcp/%s1/%s && "
             "printf \"GET /index.html HTTP/1.0\\r\\n\\r\\n\" >&3 && cat <&3' 2>/dev/null | "
             "grep -q ^pong && exit 0; sleep 0.2; done; exit 1",
             subnet, host_port);
    assert_int_equal(system(command), 0);
    OK(podkit_remove(&kit, id, err));
}

static void what_a_pod_can_not_have(void **state)
{
#define BASE "metadata { name: bad uid: bad } "
    static const struct {
        const char *config, *field;
        enum gi_code code;
    } all[] = {
        {"", "config.metadata", GI_INVALID_ARGUMENT},
        {"metadata { uid: x }", "config.metadata.name", GI_INVALID_ARGUMENT},
        {"metadata { name: x }", "config.metadata.uid", GI_INVALID_ARGUMENT},
        {BASE "hostname: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "config.hostname", GI_INVALID_ARGUMENT},
        {BASE "log_directory: relative", "config.log_directory", GI_INVALID_ARGUMENT},
        {BASE "dns_config { servers: 'a\nb' }", "config.dns_config.servers[0]",
         GI_INVALID_ARGUMENT},
        {BASE "port_mappings { host_port: 70000 container_port: 80 }", "config.port_mappings[0]",
         GI_INVALID_ARGUMENT},
        {BASE "linux { sysctls { key: kernel.panic value: 1 } }", "kernel.panic",
         GI_INVALID_ARGUMENT},
        {BASE "linux { cgroup_parent: '../up' }", "config.linux.cgroup_parent",
         GI_INVALID_ARGUMENT},
        {BASE "linux { cgroup_parent: '/up/../../up' }", "config.linux.cgroup_parent",
         GI_INVALID_ARGUMENT},
        {BASE "linux { security_context { namespace_options { network: NODE } } }",
         "namespace_options.network", GI_INVALID_ARGUMENT},
        {BASE "linux { security_context { namespace_options { pid: NODE } } }",
         "namespace_options.pid", GI_INVALID_ARGUMENT},
        {BASE "linux { security_context { namespace_options { pid: TARGET target_id: x } } }",
         "namespace_options.pid", GI_INVALID_ARGUMENT},
        {BASE "linux { security_context { namespace_options { ipc: NODE } } }",
         "namespace_options.ipc", GI_INVALID_ARGUMENT},
        {BASE "linux { security_context { namespace_options { userns_options { mode: POD } } } }",
         "userns_options", GI_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(all); i++) {
        struct gi_error err = GI_ERROR_INIT;
        char id[80];
        if (!kit.local && strcmp(all[i].field, "kernel.panic") == 0)
            continue; /* a domain has a kernel of its own to set */
        int rc = run_pod(all[i].config, id, &err);
        if (rc != -(int)all[i].code || !strstr(err.message, all[i].field))
            fail_msg("%s: %d %s", all[i].field, rc, err.message);
    }
}

/* ---- what a container runs, and as whom ---- */

static void commands_and_signals(void **state)
{
    char id[80];
    int code = -1;
    start("args", "command: /bin/sh command: -c args: 'exit $0' args: 7", id);
    OK(podkit_wait(&kit, id, 20000, &code, err));
    assert_int_equal(code, 7);
    OK(podkit_remove(&kit, id, err));
    start("signal",
          "command: /bin/sh command: -c args: 'trap \"exit 5\" USR1; echo ready >/tmp/ready; "
          "while :; do sleep 0.1; done' stop_signal: SIGNAL_SIGUSR1",
          id);
    assert_out(id, "while [ ! -e /tmp/ready ]; do sleep 0.1; done; echo there", "there");
    OK(podkit_stop(&kit, id, 20, err));
    OK(podkit_wait(&kit, id, 20000, &code, err));
    assert_int_equal(code, 5);
    OK(podkit_remove(&kit, id, err));
}

static void the_process(void **state)
{
    see("envs { key: A value: first } envs { key: A value: 'the last' } working_dir: /etc",
        "echo $A; pwd", "the last\n/etc");
    see("tty: true", "busybox test -c /proc/1/fd/1 && echo terminal", "terminal");
    see("linux { security_context { namespace_options { pid: CONTAINER } } }", "cat /proc/1/comm",
        "sleep");
    see("linux { security_context { namespace_options { pid: POD } } }",
        "test $(cat /proc/1/comm) = sleep || echo another", "another");
}

/* As `kubectl debug --target`: the processes of another container are seen. */
static void another_containers_processes(void **state)
{
    char target[80], guest[80], fields[256];
    int code = -1;
    struct gi_error e = GI_ERROR_INIT;
    start("target",
          "command: /bin/sh command: -c args: 'echo the target >/tmp/who; exec sleep 300' "
          "linux { security_context { namespace_options { pid: CONTAINER } } }",
          target);
    snprintf(fields, sizeof(fields),
             SLEEPS
             "linux { security_context { namespace_options { pid: TARGET target_id: '%s' } } }",
             target);
    start("guest", fields, guest);
    assert_out(guest, "cat /proc/1/root/tmp/who; busybox tr '\\0' ' ' </proc/1/cmdline",
               "the target\nsleep 300 ");
    assert_out(target, "ls -d /proc/[0-9]* | wc -l", "5"); /* two that sleep, sh, ls, wc */
    /* It ends with its target. */
    OK(podkit_stop(&kit, target, 0, err));
    OK(podkit_wait(&kit, guest, 20000, &code, err));
    assert_int_equal(code, 137);
    assert_int_equal(create("late", fields, guest, &e), -GI_FAILED_PRECONDITION);
    assert_non_null(strstr(e.message, "namespace_options.target_id"));
    OK(podkit_remove(&kit, target, err));
    assert_int_equal(create("late", fields, guest, &e), -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(e.message, "namespace_options.target_id: the pod has no container"));
}

static void the_user(void **state)
{
    see("linux { security_context { run_as_user { value: 1000 } run_as_group { value: 2000 } "
        "supplemental_groups: 3000 supplemental_groups: 4000 } }",
        "id -u; id -g; id -G", "1000\n2000\n2000 3000 4000");
    see("linux { security_context { run_as_username: user supplemental_groups_policy: Strict } }",
        "id -un; id -G", "user\n1000");
}

static void capabilities(void **state)
{
    see("linux { security_context { capabilities { drop_capabilities: ALL add_capabilities: "
        "NET_BIND_SERVICE } } }",
        "busybox grep Eff /proc/self/status", "CapEff:\t0000000000000400");
    see("linux { security_context { run_as_user { value: 1000 } capabilities { "
        "drop_capabilities: ALL add_ambient_capabilities: NET_BIND_SERVICE } } }",
        "busybox grep Amb /proc/1/status", "CapAmb:\t0000000000000400");
    see("linux { security_context { no_new_privs: true } }",
        "busybox grep NoNewPrivs /proc/1/status", "NoNewPrivs:\t1");
    see("linux { security_context { privileged: true } }",
        "mount -t tmpfs mine /root && echo mounted", "mounted");
    see("", "mount -t tmpfs mine /root 2>/dev/null || echo refused", "refused");
}

/* ---- what it may see and do ---- */

static void paths(void **state)
{
    see("linux { security_context { readonly_rootfs: true } }", "echo >/new || echo refused",
        "refused");
    see("linux { security_context { masked_paths: /proc/version readonly_paths: /tmp } }",
        "wc -c </proc/version; echo >/tmp/new || echo refused", "0\nrefused");
    see("devices { host_path: /dev/null container_path: /dev/mine permissions: rw }",
        "busybox test -c /dev/mine && echo x >/dev/mine && echo there", "there");
}

static void system_calls(void **state)
{
    char path[256], fields[512];
    see("linux { security_context { seccomp { profile_type: RuntimeDefault } } }",
        "busybox grep ^Seccomp: /proc/1/status", "Seccomp:\t2");
    snprintf(path, sizeof(path), "%s/profile.json", volume);
    const char *profile = "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": "
                          "[\"mkdir\", \"mkdirat\"], \"action\": \"SCMP_ACT_ERRNO\"}]}";
    OK(gi_write_file_atomic(path, profile, strlen(profile), 0644, err));
    snprintf(fields, sizeof(fields),
             "linux { security_context { seccomp { profile_type: Localhost localhost_ref: '%s' } } "
             "}",
             path);
    see(fields, "mkdir /tmp/new 2>/dev/null || echo refused", "refused");
}

/* A container that has the host's device BLOCK as /dev/data. */
static void start_with_device(const char *name, const char *block, const char *permissions,
                              const char *more, char id[80])
{
    char fields[400];
    snprintf(fields, sizeof(fields),
             SLEEPS "devices { host_path: '%s' container_path: /dev/data permissions: %s } %s",
             block, permissions, more);
    start(name, fields, id);
}

static void block_devices(void **state)
{
    const char *block = getenv("TEST_BLOCK"); /* with ext4 on it */
    if (!block)
        skip(); /* needs a loop device */
    char mounts[80], writer[80], other[80], reader[80];
    struct gi_error e = GI_ERROR_INIT;
    start_with_device("mounts", block, "rw",
                      "linux { security_context { capabilities { add_capabilities: SYS_ADMIN } } }",
                      mounts);
    assert_out(mounts,
               "mkdir /tmp/fs && mount -t ext4 /dev/data /tmp/fs && echo there >/tmp/fs/f && "
               "cat /tmp/fs/f && busybox umount /tmp/fs",
               "there");
    OK(podkit_remove(&kit, mounts, err));
    start_with_device("writer", block, "rw", "", writer);
    start_with_device("other", block, "rw", "", other);
    assert_out(writer,
               "echo kept | dd of=/dev/data bs=512 seek=8 conv=fsync 2>/dev/null; "
               "dd if=/dev/data bs=1 skip=4096 count=4 2>/dev/null",
               "kept");
    OK(podkit_remove(&kit, writer, err));
    assert_out(other, "dd if=/dev/data bs=1 skip=4096 count=4 2>/dev/null", "kept");
    OK(podkit_remove(&kit, other, err));
    /* It is on the host's. */
    char command[200];
    snprintf(command, sizeof(command),
             "[ $(dd if=%s bs=4096 skip=1 count=1 2>/dev/null | head -c 4) = kept ]", block);
    assert_int_equal(system(command), 0);
    start_with_device("reader", block, "r", "", reader);
    assert_out(reader,
               "dd if=/dev/data bs=1 skip=4096 count=4 2>/dev/null; echo no | dd of=/dev/data "
               "bs=512 conv=fsync 2>/dev/null || echo ' refused'",
               "kept refused");
    OK(podkit_remove(&kit, reader, err));
    assert_int_equal(create("none", SLEEPS "devices { host_path: /dev/gone }", other, &e),
                     -GI_NOT_FOUND);
    assert_non_null(strstr(e.message, "config.devices[0].host_path"));
}

static void what_a_container_can_not_have(void **state)
{
#define SECURITY(text) SLEEPS "linux { security_context { " text " } }"
#define MOUNT(text)    SLEEPS "mounts { " text " }"
    static const char *const all[][2] = {
        {SLEEPS "CDI_devices { name: 'vendor.example/gpu=0' }", "config.CDI_devices"},
        {SLEEPS "log_path: '../out.log'", "config.log_path"},
        {SLEEPS "devices { host_path: /etc/passwd }", "config.devices[0].host_path"},
        {SLEEPS "devices { host_path: /dev/null permissions: x }", "config.devices[0].permissions"},
        {SLEEPS "linux { resources { cpu_shares: -1 } }", "cpu_shares"},
        {SECURITY("namespace_options { network: NODE }"), "namespace_options.network"},
        {SECURITY("namespace_options { ipc: NODE }"), "namespace_options.ipc"},
        {SECURITY("namespace_options { pid: NODE }"), "namespace_options.pid"},
        {SECURITY("namespace_options { pid: TARGET }"), "namespace_options.target_id: missing"},
        {SECURITY("namespace_options { pid: TARGET target_id: none }"),
         "namespace_options.target_id: the pod has no"},
        {SECURITY("apparmor { profile_type: Localhost localhost_ref: mine }"), "apparmor"},
        {SECURITY("apparmor_profile: 'localhost/mine'"), "apparmor"},
        {SECURITY("seccomp_profile_path: elsewhere"), "seccomp_profile_path"},
        {SECURITY("run_as_group { value: 1 }"), "run_as_group"},
        {MOUNT("container_path: /x host_path: /tmp uidMappings { length: 1 }"), "uidMappings"},
        {MOUNT("container_path: /x host_path: /tmp gidMappings { length: 1 }"), "uidMappings"},
        {MOUNT("container_path: /x host_path: /tmp mount_options: noexec"), "mount_options"},
        {MOUNT("host_path: /tmp"), "container_path"},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(all); i++) {
        struct gi_error err = GI_ERROR_INIT;
        char id[80];
        int rc = create("bad", all[i][0], id, &err);
        if (rc != -GI_INVALID_ARGUMENT || !strstr(err.message, all[i][1]))
            fail_msg("%s: %d %s", all[i][1], rc, err.message);
    }
}

/* ---- status ---- */

static void a_containers_status(void **state)
{
    char id[80], fields[1024], second[256];
    snprintf(second, sizeof(second), "%.*ssecond", (int)strlen(kit.image) - 1, kit.image);
    snprintf(fields, sizeof(fields),
             SLEEPS "labels { key: l value: 1 } annotations { key: a value: 2 } log_path: 'c.log' "
                    "image { image: '%s' user_specified_image: '%s' annotations { key: k value: v "
                    "} }",
             second, second);
    start("status", fields, id);
    Runtime__V1__ContainerStatusResponse *r = NULL;
    OK(call("ContainerStatus",
            textpb(&runtime__v1__container_status_request__descriptor,
                   "container_id: %s verbose: true", id),
            &r, err));
    assert_true(r->n_info > 0);
    const Runtime__V1__ContainerStatus *s = r->status;
    assert_string_equal(s->metadata->name, "status");
    assert_string_equal(gi_cri_map_get(s->labels, s->n_labels, "l"), "1");
    assert_string_equal(gi_cri_map_get(s->annotations, s->n_annotations, "a"), "2");
    assert_non_null(strstr(s->log_path, "/fields/c.log"));
    /* Of the image's names the one that was asked for. */
    assert_string_equal(s->image->image, second);
    assert_string_equal(s->image->user_specified_image, second);
    assert_int_equal(strncmp(s->image_id, "sha256:", 7), 0);
    podkit_free(r);
    OK(podkit_remove(&kit, id, err));
}

/* Of a mounted image status says which it was. */
static void a_mounted_images_digest(void **state)
{
    char id[80], fields[512];
    snprintf(fields, sizeof(fields),
             SLEEPS "mounts { container_path: /image image { image: '%s' } }", kit.image);
    start("mounted", fields, id);
    Runtime__V1__ContainerStatusResponse *r = NULL;
    OK(podkit_status(&kit, id, &r, err));
    assert_int_equal(r->status->n_mounts, 1);
    assert_non_null(strstr(r->status->mounts[0]->image->image_ref, "@sha256:"));
    podkit_free(r);
    OK(podkit_remove(&kit, id, err));
}

/* One id in all answers, whichever name is asked for. */
static void names_of_one_image(void **state)
{
    char second[256], id[2][80], container[80];
    snprintf(second, sizeof(second), "%.*ssecond", (int)strlen(kit.image) - 1, kit.image);
    const char *names[] = {kit.image, second};
    for (int i = 0; i < 2; i++) {
        Runtime__V1__ImageStatusResponse *r = NULL;
        OK(call("ImageStatus",
                textpb(&runtime__v1__image_status_request__descriptor,
                       "image { image: '%s' } verbose: true", names[i]),
                &r, err));
        assert_non_null(r->image);
        assert_int_equal(r->image->n_repo_tags, 2);
        assert_int_equal(r->n_info, 1);
        assert_non_null(strstr(r->info[0]->value, "imageSpec"));
        snprintf(id[i], sizeof(id[i]), "%s", r->image->id);
        podkit_free(r);
    }
    assert_string_equal(id[0], id[1]);
    Runtime__V1__PullImageResponse *p = NULL;
    OK(call("PullImage",
            textpb(&runtime__v1__pull_image_request__descriptor, "image { image: '%s' }", second),
            &p, err));
    assert_string_equal(p->image_ref, id[0]);
    podkit_free(p);
    start("image", SLEEPS, container);
    Runtime__V1__ListContainersResponse *l = NULL;
    OK(call(
        "ListContainers",
        textpb(&runtime__v1__list_containers_request__descriptor, "filter { id: %s }", container),
        &l, err));
    assert_int_equal(l->n_containers, 1);
    assert_string_equal(l->containers[0]->image_ref, id[0]);
    assert_string_equal(l->containers[0]->image_id, id[0]);
    podkit_free(l);
    OK(podkit_remove(&kit, container, err));
}

/* ---- filters ---- */

#define COUNT(method, type, text, Response, n_field, want)                                         \
    do {                                                                                           \
        Response *count_r_ = NULL;                                                                 \
        OK(call(method, textpb(&type, "%s", text), &count_r_, err));                               \
        if (count_r_->n_field != (want))                                                           \
            fail_msg("%s %s: %zu", method, text, count_r_->n_field);                               \
        podkit_free(count_r_);                                                                     \
    } while (0)
#define CONTAINER_STATS(text, want)                                                                \
    COUNT("ListContainerStats", runtime__v1__list_container_stats_request__descriptor, text,       \
          Runtime__V1__ListContainerStatsResponse, n_stats, want)
#define POD_STATS(text, want)                                                                      \
    COUNT("ListPodSandboxStats", runtime__v1__list_pod_sandbox_stats_request__descriptor, text,    \
          Runtime__V1__ListPodSandboxStatsResponse, n_stats, want)
#define IMAGES(text, want)                                                                         \
    COUNT("ListImages", runtime__v1__list_images_request__descriptor, text,                        \
          Runtime__V1__ListImagesResponse, n_images, want)

static void lists_of_some(void **state)
{
    char id[80], by_pod[128], image[512];
    start("listed", SLEEPS "labels { key: which value: one }", id);
    snprintf(by_pod, sizeof(by_pod), "filter { pod_sandbox_id: %s }", pod);
    CONTAINER_STATS(by_pod, 1);
    CONTAINER_STATS("filter { pod_sandbox_id: gi-none }", 0);
    CONTAINER_STATS("filter { label_selector { key: which value: one } }", 1);
    CONTAINER_STATS("filter { label_selector { key: which value: two } }", 0);
    snprintf(by_pod, sizeof(by_pod), "filter { id: %s }", pod);
    POD_STATS(by_pod, 1);
    POD_STATS("filter { id: gi-none }", 0);
    POD_STATS("filter { label_selector { key: app value: web } }", 1);
    POD_STATS("filter { label_selector { key: app value: db } }", 0);
    snprintf(image, sizeof(image), "filter { image { image: '%s' } }", kit.image);
    IMAGES(image, 1);
    IMAGES("filter { image { image: '127.0.0.1:1/never/pulled:1' } }", 0);
    OK(podkit_remove(&kit, id, err));
}

/* ---- logs ---- */

static bool has_lines(const char *path)
{
    char *text = NULL;
    size_t len = 0;
    bool is = gi_read_file(path, 1 << 20, &text, &len, NULL) == 0 && len > 0;
    free(text);
    return is;
}

static void await_lines(const char *path)
{
    for (int i = 0; i < 400; i++) {
        if (has_lines(path))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    fail_msg("nothing is written to %s", path);
}

/* As the kubelet rotates: the file gets another name, then the runtime is told. */
static void a_log_goes_on_in_a_new_file(void **state)
{
    char id[80], path[300], old[320];
    struct gi_error why = GI_ERROR_INIT;
    snprintf(path, sizeof(path), "%s/fields/rotated.log", kit.log_root);
    snprintf(old, sizeof(old), "%s.1", path);
    OK(gi_mkdir_p(kit.log_root, 0755, err));
    start("rotated",
          "command: /bin/sh command: -c args: 'while :; do echo line; sleep 0.1; done' log_path: "
          "rotated.log",
          id);
    await_lines(path);
    assert_int_equal(rename(path, old), 0);
    void *r = NULL;
    OK(call("ReopenContainerLog",
            textpb(&runtime__v1__reopen_container_log_request__descriptor, "container_id: %s", id),
            &r, err));
    podkit_free(r);
    await_lines(path);
    OK(podkit_stop(&kit, id, 0, err));
    assert_int_equal(
        call("ReopenContainerLog",
             textpb(&runtime__v1__reopen_container_log_request__descriptor, "container_id: %s", id),
             &r, &why),
        -GI_FAILED_PRECONDITION);
    OK(podkit_remove(&kit, id, err));
}

/* What the kernel does not run has an exit code; what dies before its start has the
 * reason that the kubelet knows. */
static void what_can_not_be_started(void **state)
{
    char id[80], path[256], config[512];
    int code = 0;
    struct gi_error why = GI_ERROR_INIT;
    Runtime__V1__ContainerStatusResponse *r = NULL;
    snprintf(path, sizeof(path), "%s/garbage", volume);
    OK(gi_write_file_atomic(path, "\177ELFgarbage", 11, 0755, err));
    snprintf(config, sizeof(config),
             "command: /garbage mounts { host_path: '%s' container_path: /garbage }", path);
    start("garbage", config, id);
    OK(podkit_wait(&kit, id, 20000, &code, err));
    assert_int_not_equal(code, 0);
    OK(podkit_remove(&kit, id, err));

    if (!kit.local)
        return; /* of a zone nobody here can kill a process before its start */
    OK(create("dead", SLEEPS, id, err));
    snprintf(config, sizeof(config),
             "for p in $(find /sys/fs/cgroup -path '*%s/%s/%s*/cgroup.procs' -exec cat {} +); do "
             "kill -9 $p 2>/dev/null; done; true",
             parent, pod, id);
    assert_int_equal(system(config), 0);
    assert_true(podkit_start(&kit, id, &why) < 0);
    OK(podkit_wait(&kit, id, 20000, &code, err));
    assert_int_not_equal(code, 0);
    OK(podkit_status(&kit, id, &r, err));
    assert_string_equal(r->status->reason, "StartError");
    assert_int_equal(r->status->started_at, 0);
    podkit_free(r);
    OK(podkit_remove(&kit, id, err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pods_files_and_names),
        cmocka_unit_test(the_pods_status),
        cmocka_unit_test(limits),
        cmocka_unit_test(a_port_of_the_host_is_the_pods),
        cmocka_unit_test(what_a_pod_can_not_have),
        cmocka_unit_test(commands_and_signals),
        cmocka_unit_test(the_process),
        cmocka_unit_test(another_containers_processes),
        cmocka_unit_test(the_user),
        cmocka_unit_test(capabilities),
        cmocka_unit_test(paths),
        cmocka_unit_test(system_calls),
        cmocka_unit_test(block_devices),
        cmocka_unit_test(what_a_container_can_not_have),
        cmocka_unit_test(a_containers_status),
        cmocka_unit_test(a_mounted_images_digest),
        cmocka_unit_test(names_of_one_image),
        cmocka_unit_test(lists_of_some),
        cmocka_unit_test(a_log_goes_on_in_a_new_file),
        cmocka_unit_test(what_can_not_be_started),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
