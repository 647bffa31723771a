/* SPDX-License-Identifier: Apache-2.0 */
/* From CRI's ContainerConfig to the OCI spec: what is asked for is there, what can't be is named.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/spec.h"
#include "rpc/pb.h"
#include "json/json.h"

static char dir[] = "/tmp/gi-oci-test-XXXXXX";
static char etc[64], rootfs[64];

static int setup(void **state)
{
    char passwd[96];
    const char *users = "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n";
    if (!mkdtemp(dir))
        return -1;
    snprintf(etc, sizeof(etc), "%s/etc", dir);
    snprintf(rootfs, sizeof(rootfs), "%s/rootfs", dir);
    snprintf(passwd, sizeof(passwd), "%s/rootfs/etc/passwd", dir);
    char folder[80];
    snprintf(folder, sizeof(folder), "%s/rootfs/etc", dir);
    return gi_mkdir_p(etc, 0755, NULL) | gi_mkdir_p(folder, 0755, NULL) |
           gi_write_file_atomic(passwd, users, strlen(users), 0644, NULL);
}

static int teardown(void **state)
{
    return gi_remove_tree_at(AT_FDCWD, dir, NULL);
}

static Runtime__V1__ContainerConfig *config(void)
{
    Runtime__V1__ContainerConfig *c = pb_new(&runtime__v1__container_config__descriptor);
    c->metadata = pb_new(&runtime__v1__container_metadata__descriptor);
    pb_set(&c->metadata->name, "c");
    c->linux = pb_new(&runtime__v1__linux_container_config__descriptor);
    c->linux->security_context = pb_new(&runtime__v1__linux_container_security_context__descriptor);
    return c;
}

/* The spec of C, over an image with a command, variables and a user of its own. */
static int write_spec(const Runtime__V1__ContainerConfig *c, struct gi_json **ret_spec,
                      struct oci_output *ret_out, struct gi_error *err)
{
    char *entrypoint[] = {"/entry", NULL}, *cmd[] = {"image-arg", NULL};
    char *env[] = {"PATH=/image", "FROM=image", NULL};
    struct images_image image = {.id = "sha256:1",
                                 .user = "web",
                                 .entrypoint = entrypoint,
                                 .cmd = cmd,
                                 .env = env,
                                 .working_dir = "/image-dir",
                                 .stop_signal = 3,
                                 .rootfs = rootfs};
    cleanup_pb Runtime__V1__PodSandboxConfig *pod =
        pb_new(&runtime__v1__pod_sandbox_config__descriptor);
    pod->metadata = pb_new(&runtime__v1__pod_sandbox_metadata__descriptor);
    const struct oci_input in = {.container_id = "gi-1",
                                 .config = c,
                                 .pod = pod,
                                 .image = &image,
                                 .hostname = "host",
                                 .etc_dir = etc,
                                 .host_paths = true,
                                 .available_caps = OCI_ALL_CAPS};
    int rc = oci_spec_write(&in, ret_out, err);
    if (rc == 0)
        rc = gi_json_parse(ret_out->json, strlen(ret_out->json), NULL, "spec", ret_spec, err);
    return rc;
}

struct made {
    struct gi_json *spec;
    struct oci_output out;
};

static struct made make(Runtime__V1__ContainerConfig *c)
{
    struct gi_error err = GI_ERROR_INIT;
    struct made m = {.spec = NULL};
    if (write_spec(c, &m.spec, &m.out, &err) < 0)
        fail_msg("%s", err.message);
    pb_free(c);
    return m;
}

static void drop(struct made *m)
{
    gi_json_free(m->spec);
    oci_output_free(&m->out);
}

static void refused(Runtime__V1__ContainerConfig *c, const char *field)
{
    struct gi_error err = GI_ERROR_INIT;
    struct made m = {.spec = NULL};
    int rc = write_spec(c, &m.spec, &m.out, &err);
    if (rc != -GI_INVALID_ARGUMENT || !strstr(err.message, field))
        fail_msg("%s: %d %s", field, rc, err.message);
    assert_null(m.out.json);
    pb_free(c);
}

/* "process.user.uid" */
static const struct gi_json *at(const struct gi_json *v, const char *path)
{
    char key[64];
    for (; v && *path; path += strcspn(path, ".") + (path[strcspn(path, ".")] == '.')) {
        snprintf(key, sizeof(key), "%.*s", (int)strcspn(path, "."), path);
        v = gi_json_get(v, key);
    }
    return v;
}

static int64_t number(const struct made *m, const char *path)
{
    int64_t n = -1;
    assert_true(gi_json_int(at(m->spec, path), &n));
    return n;
}

static bool has(const struct gi_json *list, const char *text)
{
    for (size_t i = 0; list && i < list->n; i++)
        if (list->items[i].text && strcmp(list->items[i].text, text) == 0)
            return true;
    return false;
}

static void the_image_fills_what_the_request_leaves_out(void **state)
{
    struct made m = make(config());
    const struct gi_json *args = at(m.spec, "process.args");
    assert_int_equal(args->n, 2);
    assert_string_equal(args->items[0].text, "/entry");
    assert_string_equal(args->items[1].text, "image-arg");
    assert_string_equal(at(m.spec, "process.cwd")->text, "/image-dir");
    assert_int_equal(number(&m, "process.user.uid"), 33);
    assert_int_equal(number(&m, "process.user.gid"), 34);
    assert_true(has(at(m.spec, "process.env"), "FROM=image"));
    assert_int_equal(m.out.stop_signal, 3);
    drop(&m);
}

static void the_request_goes_before_the_image(void **state)
{
    Runtime__V1__ContainerConfig *c = config();
    pb_push_string(&c->command, &c->n_command, "/mine");
    pb_set(&c->working_dir, "/here");
    Runtime__V1__KeyValue *kv = pb_new(&runtime__v1__key_value__descriptor);
    pb_set(&kv->key, "FROM");
    kv->value.data = (uint8_t *)pb_strdup("request");
    kv->value.len = 7;
    pb_push(&c->envs, &c->n_envs, kv);
    c->linux->security_context->run_as_user = pb_new(&runtime__v1__int64_value__descriptor);
    c->linux->security_context->run_as_user->value = 1000;
    c->stop_signal = RUNTIME__V1__SIGNAL__SIGNAL_SIGUSR1;
    struct made m = make(c);
    assert_int_equal(at(m.spec, "process.args")->n, 1);
    assert_string_equal(at(m.spec, "process.cwd")->text, "/here");
    assert_true(has(at(m.spec, "process.env"), "FROM=request"));
    assert_false(has(at(m.spec, "process.env"), "FROM=image"));
    assert_int_equal(number(&m, "process.user.uid"), 1000);
    assert_int_equal(m.out.stop_signal, 10);
    drop(&m);
}

static void capabilities(void **state)
{
    Runtime__V1__ContainerConfig *c = config();
    pb_set(&c->linux->security_context->run_as_username, "root");
    struct made m = make(c);
    assert_true(has(at(m.spec, "process.capabilities.bounding"), "CAP_CHOWN"));
    assert_false(has(at(m.spec, "process.capabilities.bounding"), "CAP_SYS_ADMIN"));
    drop(&m);

    c = config();
    Runtime__V1__Capability *caps = pb_new(&runtime__v1__capability__descriptor);
    c->linux->security_context->capabilities = caps;
    pb_push_string(&caps->drop_capabilities, &caps->n_drop_capabilities, "ALL");
    pb_push_string(&caps->add_capabilities, &caps->n_add_capabilities, "NET_ADMIN");
    m = make(c);
    const struct gi_json *bounding = at(m.spec, "process.capabilities.bounding");
    assert_int_equal(bounding->n, 1);
    assert_true(has(bounding, "CAP_NET_ADMIN"));
    drop(&m);

    c = config();
    caps = pb_new(&runtime__v1__capability__descriptor);
    c->linux->security_context->capabilities = caps;
    pb_push_string(&caps->add_capabilities, &caps->n_add_capabilities, "FLY");
    refused(c, "config.linux.security_context.capabilities.add_capabilities[0]");
}

static void what_is_hidden_and_read_only(void **state)
{
    struct made m = make(config());
    assert_null(at(m.spec, "linux.seccomp"));
    assert_false(at(m.spec, "root.readonly")->truth);
    drop(&m);

    Runtime__V1__ContainerConfig *c = config();
    Runtime__V1__LinuxContainerSecurityContext *s = c->linux->security_context;
    s->readonly_rootfs = true;
    s->no_new_privs = true;
    pb_push_string(&s->masked_paths, &s->n_masked_paths, "/proc/secret");
    s->seccomp = pb_new(&runtime__v1__security_profile__descriptor);
    s->seccomp->profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined;
    m = make(c);
    assert_true(at(m.spec, "root.readonly")->truth);
    assert_true(at(m.spec, "process.noNewPrivileges")->truth);
    assert_true(has(at(m.spec, "linux.maskedPaths"), "/proc/secret"));
    assert_null(at(m.spec, "linux.seccomp"));
    drop(&m);

    c = config();
    s = c->linux->security_context;
    s->seccomp = pb_new(&runtime__v1__security_profile__descriptor);
    s->seccomp->profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
    pb_set(&s->seccomp->localhost_ref, "relative.json");
    refused(c, "config.linux.security_context.seccomp");
}

static void seccomp(void **state)
{
    static const struct {
        const char *path;
        bool filter;
    } by_path[] = {
        {"", false}, {"unconfined", false}, {"runtime/default", true}, {"docker/default", true}};
    for (size_t i = 0; i < sizeof(by_path) / sizeof(by_path[0]); i++) {
        Runtime__V1__ContainerConfig *c = config();
        pb_set(&c->linux->security_context->seccomp_profile_path, by_path[i].path);
        struct made m = make(c);
        assert_int_equal(at(m.spec, "linux.seccomp") != NULL, by_path[i].filter);
        drop(&m);
    }
    Runtime__V1__ContainerConfig *c = config();
    pb_set(&c->linux->security_context->seccomp_profile_path, "elsewhere");
    refused(c, "config.linux.security_context.seccomp_profile_path");

    /* The newer field counts. */
    c = config();
    Runtime__V1__LinuxContainerSecurityContext *s = c->linux->security_context;
    pb_set(&s->seccomp_profile_path, "unconfined");
    s->seccomp = pb_new(&runtime__v1__security_profile__descriptor);
    s->seccomp->profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault;
    struct made m = make(c);
    assert_string_equal(at(m.spec, "linux.seccomp.defaultAction")->text, "SCMP_ACT_ERRNO");
    drop(&m);
}

static void limits(void **state)
{
    Runtime__V1__ContainerConfig *c = config();
    Runtime__V1__LinuxContainerResources *r =
        pb_new(&runtime__v1__linux_container_resources__descriptor);
    c->linux->resources = r;
    r->cpu_period = 100000;
    r->cpu_quota = 50000;
    r->cpu_shares = 512;
    r->memory_limit_in_bytes = 64 << 20;
    r->memory_swap_limit_in_bytes = 96 << 20;
    r->oom_score_adj = -7;
    pb_set(&r->cpuset_cpus, "0-1");
    pb_set(&r->cpuset_mems, "0");
    Runtime__V1__HugepageLimit *huge = pb_new(&runtime__v1__hugepage_limit__descriptor);
    pb_set(&huge->page_size, "2MB");
    huge->limit = 4 << 20;
    pb_push(&r->hugepage_limits, &r->n_hugepage_limits, huge);
    pb_push_entry(&r->unified, &r->n_unified,
                  &runtime__v1__linux_container_resources__unified_entry__descriptor, "memory.high",
                  "123");
    struct made m = make(c);
    assert_int_equal(number(&m, "linux.resources.memory.swap"), 96 << 20);
    assert_int_equal(number(&m, "process.oomScoreAdj"), -7);
    assert_string_equal(at(m.spec, "linux.resources.cpu.cpus")->text, "0-1");
    assert_string_equal(at(m.spec, "linux.resources.cpu.mems")->text, "0");
    const struct gi_json *pages = at(m.spec, "linux.resources.hugepageLimits");
    assert_int_equal(pages->n, 1);
    assert_string_equal(gi_json_get_string(&pages->items[0], "pageSize"), "2MB");
    assert_non_null(gi_json_get(at(m.spec, "linux.resources.unified"), "memory.high"));
    assert_int_equal(number(&m, "linux.resources.cpu.period"), 100000);
    assert_int_equal(number(&m, "linux.resources.cpu.quota"), 50000);
    assert_int_equal(number(&m, "linux.resources.cpu.shares"), 512);
    assert_int_equal(number(&m, "linux.resources.memory.limit"), 64 << 20);
    drop(&m);

    c = config();
    c->linux->resources = pb_new(&runtime__v1__linux_container_resources__descriptor);
    c->linux->resources->memory_limit_in_bytes = -5;
    refused(c, "config.linux.resources.memory");
}

static Runtime__V1__ContainerConfig *with_mount(const char *host, const char *inside)
{
    Runtime__V1__ContainerConfig *c = config();
    Runtime__V1__Mount *mount = pb_new(&runtime__v1__mount__descriptor);
    pb_set(&mount->host_path, host);
    pb_set(&mount->container_path, inside);
    mount->readonly = true;
    pb_push(&c->mounts, &c->n_mounts, mount);
    return c;
}

static void mounts(void **state)
{
    struct made m = make(with_mount(dir, "/data"));
    const struct gi_json *list = at(m.spec, "mounts");
    bool found = false;
    for (size_t i = 0; i < list->n; i++) {
        if (strcmp(gi_json_get_string(&list->items[i], "destination"), "/data") != 0)
            continue;
        found = true;
        assert_string_equal(gi_json_get_string(&list->items[i], "source"), dir);
        assert_true(has(gi_json_get(&list->items[i], "options"), "ro"));
    }
    assert_true(found);
    drop(&m);

    /* Nothing is tied to the outside unasked. */
    m = make(with_mount(dir, "/data"));
    assert_null(at(m.spec, "linux.rootfsPropagation"));
    drop(&m);
    Runtime__V1__ContainerConfig *c = with_mount(dir, "/data");
    c->mounts[0]->propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
    m = make(c);
    assert_string_equal(at(m.spec, "linux.rootfsPropagation")->text, "rslave");
    drop(&m);
    c = with_mount(dir, "/data");
    c->mounts[0]->propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL;
    refused(c, "config.mounts[0].propagation");
    refused(with_mount("relative", "/data"), "config.mounts[0].host_path");
    refused(with_mount(dir, ""), "config.mounts[0].container_path");
}

static void the_nodes_namespaces_are_refused(void **state)
{
    Runtime__V1__ContainerConfig *c = config();
    Runtime__V1__NamespaceOption *n = pb_new(&runtime__v1__namespace_option__descriptor);
    c->linux->security_context->namespace_options = n;
    n->network = RUNTIME__V1__NAMESPACE_MODE__NODE;
    refused(c, "namespace_options.network");
}

static void users_never_wrap_around_to_root(void **state)
{
    const int64_t bad[] = {-1, 4294967296, 4294967295, INT64_MIN};
    for (size_t i = 0; i < GI_ARRAY_SIZE(bad); i++) {
        Runtime__V1__ContainerConfig *c = config();
        c->linux->security_context->run_as_user = pb_new(&runtime__v1__int64_value__descriptor);
        c->linux->security_context->run_as_user->value = bad[i];
        refused(c, "run_as_user");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_image_fills_what_the_request_leaves_out),
        cmocka_unit_test(the_request_goes_before_the_image),
        cmocka_unit_test(capabilities),
        cmocka_unit_test(what_is_hidden_and_read_only),
        cmocka_unit_test(seccomp),
        cmocka_unit_test(limits),
        cmocka_unit_test(mounts),
        cmocka_unit_test(the_nodes_namespaces_are_refused),
        cmocka_unit_test(users_never_wrap_around_to_root),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
