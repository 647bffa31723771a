/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts that are asked for: what appears in them later, what is read-only in
 * them, images. Started by behaviour.sh, which starts the runtime.
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
static char volume[] = "/tmp/gi-mounts.XXXXXX", later[64];

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
    if (podkit_run_pod(&kit, "mounts", NULL, pod, &err) < 0) {
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

static int create(const char *name, Runtime__V1__Mount *m, char id[80], struct gi_error *err)
{
    Runtime__V1__Mount *mounts[] = {m};
    Runtime__V1__PodSandboxMetadata pod_metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
    Runtime__V1__PodSandboxConfig pod_config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
    Runtime__V1__CreateContainerResponse *r = NULL;
    char *argv[] = {(char *)"/bin/sleep", (char *)"1000"};
    m->container_path = (char *)"/volume";
    metadata.name = (char *)name;
    image.image = (char *)kit.image;
    config.metadata = &metadata;
    config.image = &image;
    config.command = argv;
    config.n_command = 2;
    config.mounts = mounts;
    config.n_mounts = 1;
    pod_metadata.name = (char *)"mounts";
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

static void start(const char *name, Runtime__V1__Mount *m, char id[80])
{
    struct gi_error err = GI_ERROR_INIT;
    if (create(name, m, id, &err) < 0 || podkit_start(&kit, id, &err) < 0)
        fail_msg("%s: %s", name, err.message);
}

/* FIELD of the container's only mount is what is wrong. */
static void refuse(Runtime__V1__Mount *m, const char *field)
{
    char id[80], expected[80];
    struct gi_error err = GI_ERROR_INIT;
    snprintf(expected, sizeof(expected), "config.mounts[0].%s:", field);
    assert_int_equal(create("bad", m, id, &err), -GI_INVALID_ARGUMENT);
    if (!strstr(err.message, expected))
        fail_msg("%s, not: %s", field, err.message);
}

/* Whether SCRIPT succeeds in the container. */
static bool does(const char *id, const char *script)
{
    struct gi_error err = GI_ERROR_INIT;
    char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)script};
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    Runtime__V1__ExecSyncResponse *r = NULL;
    request.container_id = (char *)id;
    request.cmd = argv;
    request.n_cmd = 3;
    if (call("ExecSync", &request.base, &r, &err) < 0)
        fail_msg("exec: %s", err.message);
    bool success = r->exit_code == 0;
    podkit_free(r);
    return success;
}

static Runtime__V1__Mount host_folder(void)
{
    Runtime__V1__Mount m = RUNTIME__V1__MOUNT__INIT;
    m.host_path = volume;
    return m;
}

/* A volume's driver mounts after the container has started: with HOST_TO_CONTAINER
 * it is seen inside, without it isn't. */
static void test_propagation(void **state)
{
    char with[80], without[80], path[80];
    if (!kit.local)
        skip(); /* the host's mounts are none of a zone's kernel's */
    Runtime__V1__Mount m = host_folder();
    m.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
    start("with", &m, with);
    m.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE;
    start("without", &m, without);
    assert_int_equal(mount("tmpfs", later, "tmpfs", 0, "size=64k"), 0);
    snprintf(path, sizeof(path), "%s/file", later);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fclose(f);
    assert_true(does(with, "test -e /volume/later/file"));
    assert_false(does(without, "test -e /volume/later/file"));
    /* The other direction would be a promise that a zone can't keep. */
    m.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL;
    refuse(&m, "propagation");
}

/* After test_propagation: there is a file system mounted in the volume. */
static void test_recursive_read_only(void **state)
{
    char id[80];
    if (!kit.local)
        skip();
    Runtime__V1__Mount m = host_folder();
    m.readonly = true;
    start("read-only", &m, id);
    assert_false(does(id, "echo >/volume/new"));
    assert_true(does(id, "echo >/volume/later/new"));
    m.recursive_read_only = true;
    start("recursive", &m, id);
    assert_false(does(id, "echo >/volume/new"));
    assert_false(does(id, "echo >/volume/later/new"));
    assert_true(does(id, "test -e /volume/later/file"));
    m.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
    refuse(&m, "recursive_read_only");
    m.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE;
    m.readonly = false;
    refuse(&m, "recursive_read_only");
}

static void test_image(void **state)
{
    char id[80];
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__Mount m = RUNTIME__V1__MOUNT__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    image.image = (char *)kit.image;
    m.image = &image;
    start("image", &m, id);
    assert_true(does(id, "cmp /volume/bin/busybox /bin/busybox"));
    assert_false(does(id, "echo >/volume/new"));
    assert_true(does(id, "/volume/bin/busybox true"));
    m.image_sub_path = (char *)"bin";
    start("part", &m, id);
    assert_true(does(id, "cmp /volume/busybox /bin/busybox"));
    m.image_sub_path = (char *)"../bin";
    refuse(&m, "image_sub_path");
    m.image_sub_path = (char *)"/bin";
    refuse(&m, "image_sub_path");
    m.image_sub_path = (char *)"no/such/folder";
    assert_int_equal(create("lost", &m, id, &err), -GI_NOT_FOUND);
    assert_non_null(strstr(err.message, "no/such/folder"));
    m.image_sub_path = (char *)"bin";
    m.host_path = volume;
    refuse(&m, "host_path");
    m.host_path = (char *)"";
    image.image = (char *)"";
    refuse(&m, "image.image");
    image.image = (char *)"127.0.0.1:1/never/pulled:1";
    assert_int_equal(create("unknown", &m, id, &err), -GI_NOT_FOUND);
    assert_non_null(strstr(err.message, "config.mounts[0].image"));
    m.image = NULL;
    m.host_path = volume;
    refuse(&m, "image_sub_path");
}

/* The disks of images that the pod has; only where it is a domain. */
static void expect_disks(const char *id, int n)
{
    char script[96];
    snprintf(script, sizeof(script), "[ $(ls /sys/block | busybox grep -c 'xvd[b-y]') = %d ]", n);
    assert_true(kit.local || does(id, script));
}

/* An image is in the pod as long as a container there has it. */
static void test_image_goes(void **state)
{
    char stays[80], first[80], second[80];
    struct gi_error err = GI_ERROR_INIT;
    Runtime__V1__Mount m = RUNTIME__V1__MOUNT__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    m.image = &image;
    image.image = (char *)kit.image;
    start("stays", &m, stays);
    image.image = getenv("TEST_OTHER_IMAGE");
    assert_non_null(image.image);
    expect_disks(stays, 1);
    for (int i = 0; i < 3; i++) {
        start("first", &m, first);
        start("second", &m, second);
        expect_disks(stays, 2);
        assert_int_equal(podkit_remove(&kit, first, &err), 0);
        expect_disks(stays, 2);
        assert_true(does(second, "[ $(cat /volume/which) = other ]"));
        assert_int_equal(podkit_remove(&kit, second, &err), 0);
        expect_disks(stays, 1);
    }
    /* Nor does one stay whose container could not be made. */
    m.image_sub_path = (char *)"no/such/folder";
    assert_int_equal(create("lost", &m, first, &err), -GI_NOT_FOUND);
    expect_disks(stays, 1);
    assert_true(does(stays, "cmp /volume/bin/busybox /bin/busybox"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_propagation),
        cmocka_unit_test(test_recursive_read_only),
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_image_goes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
