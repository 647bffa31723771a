/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes whose driver mounts after the container has started: with
 * HOST_TO_CONTAINER it is seen inside, without it isn't. Started by
 * behaviour.sh, which starts the runtime.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

#include "podkit.h"

static struct podkit kit;
static char pod[80];
static char volume[] = "/tmp/gi-propagation.XXXXXX", later[64];

static int call(const char *method, const ProtobufCMessage *request, void *ret,
                struct gi_error *err)
{
    struct gi_cri_call_options opt = {.timeout_ms = 60000};
    return gi_cri_call(kit.client, method, request, &opt, ret, err);
}

/* As a node's /var/lib/kubelet: shared, and so before the pod is made. */
static int setup(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    if (podkit_open(&kit) < 0 || !mkdtemp(volume))
        return -1;
    snprintf(later, sizeof(later), "%s/later", volume);
    if (mount(volume, volume, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, volume, NULL, MS_SHARED, NULL) < 0 || mkdir(later, 0755) < 0)
        return -1;
    if (podkit_run_pod(&kit, "propagation", NULL, pod, &err) < 0) {
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
    umount2(later, MNT_DETACH);
    if (umount2(volume, MNT_DETACH) < 0 || rmdir(later) < 0 || rmdir(volume) < 0)
        rc = -1;
    podkit_close(&kit);
    return rc;
}

static int create(const char *name, Runtime__V1__MountPropagation propagation, char id[80],
                  struct gi_error *err)
{
    Runtime__V1__Mount m = RUNTIME__V1__MOUNT__INIT, *mounts[] = {&m};
    Runtime__V1__PodSandboxMetadata pod_metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
    Runtime__V1__PodSandboxConfig pod_config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
    Runtime__V1__CreateContainerResponse *r = NULL;
    char *argv[] = {(char *)"/bin/sleep", (char *)"1000"};
    m.host_path = volume;
    m.container_path = (char *)"/volume";
    m.propagation = propagation;
    metadata.name = (char *)name;
    image.image = (char *)kit.image;
    config.metadata = &metadata;
    config.image = &image;
    config.command = argv;
    config.n_command = 2;
    config.mounts = mounts;
    config.n_mounts = 1;
    pod_metadata.name = (char *)"propagation";
    pod_config.metadata = &pod_metadata;
    request.pod_sandbox_id = pod;
    request.config = &config;
    request.sandbox_config = &pod_config;
    int rc = call("CreateContainer", &request.base, &r, err);
    if (rc == 0)
        snprintf(id, 80, "%s", r->container_id);
    podkit_free(r);
    return rc;
}

static void start(const char *name, Runtime__V1__MountPropagation propagation, char id[80])
{
    struct gi_error err = GI_ERROR_INIT;
    if (create(name, propagation, id, &err) < 0 || podkit_start(&kit, id, &err) < 0)
        fail_msg("%s: %s", name, err.message);
}

static bool sees_file(const char *id)
{
    struct gi_error err = GI_ERROR_INIT;
    char *argv[] = {(char *)"/bin/cat", (char *)"/volume/later/file"};
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    Runtime__V1__ExecSyncResponse *r = NULL;
    request.container_id = (char *)id;
    request.cmd = argv;
    request.n_cmd = 2;
    if (call("ExecSync", &request.base, &r, &err) < 0)
        fail_msg("exec: %s", err.message);
    bool seen = r->exit_code == 0;
    podkit_free(r);
    return seen;
}

static void test_propagation(void **state)
{
    char with[80], without[80], path[80], id[80];
    struct gi_error err = GI_ERROR_INIT;
    start("with", RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER, with);
    start("without", RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE, without);
    assert_int_equal(mount("tmpfs", later, "tmpfs", 0, "size=64k"), 0);
    snprintf(path, sizeof(path), "%s/file", later);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fclose(f);
    assert_true(sees_file(with));
    assert_false(sees_file(without));
    /* The other direction would be a promise that a zone can't keep. */
    assert_int_equal(
        create("both", RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL, id, &err),
        -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "config.mounts[0].propagation"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_propagation)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
