/* SPDX-License-Identifier: Apache-2.0 */
/* The gRPC client against a small server in this process. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cri/client.h"
#include "mini_server.h"

static char dir[] = "/tmp/gi-cri-client-XXXXXX";
static char endpoint[128];
static struct mini_server *server;
static struct gi_cri_client *client;

static int setup(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(endpoint, sizeof(endpoint), "unix://%s/cri.sock", dir);
    server = mini_server_start(endpoint + strlen("unix://"));
    return gi_cri_client_new(endpoint, &client, NULL);
}

static int teardown(void **state)
{
    gi_cri_client_free(client);
    if (server)
        mini_server_stop(server);
    return gi_remove_tree_at(-100, dir, NULL);
}

static int version(const char *name, const struct gi_cri_call_options *opt,
                   Runtime__V1__VersionResponse **ret, struct gi_error *err)
{
    Runtime__V1__VersionRequest request = RUNTIME__V1__VERSION_REQUEST__INIT;
    request.version = (char *)name;
    return gi_cri_call(client, "Version", &request.base, opt, (ProtobufCMessage **)ret, err);
}

static void test_unary(void **state)
{
    Runtime__V1__VersionResponse *r = NULL;
    struct gi_error err = GI_ERROR_INIT;
    if (version("v1", NULL, &r, &err) != 0)
        fail_msg("%s", err.message);
    assert_string_equal(r->runtime_name, "v1");
    protobuf_c_message_free_unpacked(&r->base, NULL);
}

static void test_large(void **state)
{
    Runtime__V1__VersionResponse *r = NULL;
    struct gi_error err = GI_ERROR_INIT;
    if (version("big", NULL, &r, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(strlen(r->runtime_version), 20 << 20);
    protobuf_c_message_free_unpacked(&r->base, NULL);
}

static void test_server_error(void **state)
{
    Runtime__V1__RemoveImageRequest request = RUNTIME__V1__REMOVE_IMAGE_REQUEST__INIT;
    Runtime__V1__StatusRequest status = RUNTIME__V1__STATUS_REQUEST__INIT;
    ProtobufCMessage *r = NULL;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(gi_cri_call(client, "RemoveImage", &request.base, NULL, &r, &err),
                     -GI_FAILED_PRECONDITION);
    assert_string_equal(err.message, "in use");
    assert_int_equal(gi_cri_call(client, "Status", &status.base, NULL, &r, &err),
                     -GI_UNIMPLEMENTED);
    assert_null(r);
}

static void test_wrong_use(void **state)
{
    Runtime__V1__StatusRequest status = RUNTIME__V1__STATUS_REQUEST__INIT;
    ProtobufCMessage *r = NULL;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(gi_cri_call(client, "Version", &status.base, NULL, &r, &err), -GI_INTERNAL);
    assert_int_equal(gi_cri_call(client, "Nothing", &status.base, NULL, &r, &err), -GI_INTERNAL);
}

static bool always(void *data)
{
    return true;
}

static void test_deadline_and_cancel(void **state)
{
    Runtime__V1__StopContainerRequest request = RUNTIME__V1__STOP_CONTAINER_REQUEST__INIT;
    ProtobufCMessage *r = NULL;
    struct gi_error err = GI_ERROR_INIT;
    struct gi_cri_call_options opt = {.timeout_ms = 200};
    int64_t begin = gi_monotonic_ns();
    assert_int_equal(gi_cri_call(client, "StopContainer", &request.base, &opt, &r, &err),
                     -GI_DEADLINE_EXCEEDED);
    assert_true(gi_monotonic_ns() - begin >= 190 * 1000000LL);
    opt = (struct gi_cri_call_options){.cancelled = always};
    assert_int_equal(gi_cri_call(client, "StopContainer", &request.base, &opt, &r, &err),
                     -GI_CANCELLED);
}

static int count_image(void *data, const ProtobufCMessage *m)
{
    const Runtime__V1__StreamImagesResponse *r = (const void *)m;
    int *n = data;
    char id[32];
    snprintf(id, sizeof(id), "image-%d", *n);
    assert_int_equal(r->n_images, 1);
    assert_string_equal(r->images[0]->id, id);
    return ++*n == 100;
}

static void test_stream(void **state)
{
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__ImageFilter filter = RUNTIME__V1__IMAGE_FILTER__INIT;
    Runtime__V1__StreamImagesRequest request = RUNTIME__V1__STREAM_IMAGES_REQUEST__INIT;
    struct gi_error err = GI_ERROR_INIT;
    int n = 0;
    assert_int_equal(
        gi_cri_stream(client, "StreamImages", &request.base, NULL, count_image, &n, &err), 0);
    assert_int_equal(n, 3);

    image.image = (char *)"broken";
    filter.image = &image;
    request.filter = &filter;
    n = 0;
    assert_int_equal(
        gi_cri_stream(client, "StreamImages", &request.base, NULL, count_image, &n, &err),
        -GI_DATA_LOSS);
    assert_int_equal(n, 3);

    n = 99; /* the first message ends it */
    image.image = (char *)"";
    Runtime__V1__GetEventsRequest events = RUNTIME__V1__GET_EVENTS_REQUEST__INIT;
    struct gi_cri_call_options opt = {.timeout_ms = 300};
    assert_int_equal(gi_cri_call(client, "GetContainerEvents", &events.base, &opt,
                                 (ProtobufCMessage *[]){NULL}, &err),
                     -GI_INTERNAL); /* a stream isn't a call */
}

static int first_event(void *data, const ProtobufCMessage *m)
{
    const Runtime__V1__ContainerEventResponse *e = (const void *)m;
    assert_string_equal(e->container_id, "c1");
    ++*(int *)data;
    return 1;
}

static int next_event(void *data, const ProtobufCMessage *m)
{
    ++*(int *)data;
    return 0;
}

static void test_open_stream(void **state)
{
    Runtime__V1__GetEventsRequest request = RUNTIME__V1__GET_EVENTS_REQUEST__INIT;
    struct gi_error err = GI_ERROR_INIT;
    int n = 0;
    assert_int_equal(
        gi_cri_stream(client, "GetContainerEvents", &request.base, NULL, first_event, &n, &err), 0);
    assert_int_equal(n, 1);
    struct gi_cri_call_options opt = {.timeout_ms = 200};
    assert_int_equal(
        gi_cri_stream(client, "GetContainerEvents", &request.base, &opt, next_event, &n, &err),
        -GI_DEADLINE_EXCEEDED);
    assert_int_equal(n, 2);
}

static void test_raw(void **state)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    struct gi_error err = GI_ERROR_INIT;
    assert_int_equal(gi_cri_call_raw(client, "/runtime.v1.RuntimeService/Version", "\x0a\x01z", 3,
                                     NULL, &bytes, &len, &err),
                     0);
    assert_int_equal(len, 3);
    assert_memory_equal(bytes, "\x12\x01z", 3); /* runtime_name = 2 */
    free(bytes);
}

static void test_bad_endpoint(void **state)
{
    struct gi_cri_client *c = NULL;
    struct gi_error err = GI_ERROR_INIT;
    char longer[300] = "unix:///";
    memset(longer + 8, 'a', 200);
    assert_int_equal(gi_cri_client_new("tcp://1.2.3.4:5", &c, &err), -GI_INVALID_ARGUMENT);
    assert_int_equal(gi_cri_client_new("relative", &c, &err), -GI_INVALID_ARGUMENT);
    assert_int_equal(gi_cri_client_new(longer, &c, &err), -GI_INVALID_ARGUMENT);
    assert_null(c);
}

/* One connection to dir/late.sock, passed on to the server when 600 ms are over. */
static void *late_main(void *arg)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fds[2] = {accept(*(int *)arg, NULL, NULL), socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    snprintf(to.sun_path, sizeof(to.sun_path), "%.90s/cri.sock", dir);
    usleep(600000);
    bool open = connect(fds[1], (struct sockaddr *)&to, sizeof(to)) == 0;
    while (open) {
        struct pollfd p[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
        poll(p, 2, -1);
        for (int i = 0; i < 2 && open; i++) {
            char bytes[4096];
            ssize_t n = p[i].revents ? read(fds[i], bytes, sizeof(bytes)) : 0;
            open = !p[i].revents || (n > 0 && gi_write_full(fds[1 - i], bytes, (size_t)n) == 0);
        }
    }
    close(fds[0]);
    close(fds[1]);
    return NULL;
}

/* A server with much to do takes its time to greet: no reason to give up. */
static void test_slow_server(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char late[128];
    pthread_t thread;
    struct gi_error err = GI_ERROR_INIT;
    struct gi_cri_client *slow = NULL;
    ProtobufCMessage *r = NULL;
    Runtime__V1__VersionRequest request = RUNTIME__V1__VERSION_REQUEST__INIT;
    snprintf(at.sun_path, sizeof(at.sun_path), "%.90s/late.sock", dir);
    snprintf(late, sizeof(late), "unix://%s", at.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(pthread_create(&thread, NULL, late_main, &fd), 0);
    assert_int_equal(gi_cri_client_new(late, &slow, NULL), 0);
    if (gi_cri_call(slow, "Version", &request.base, NULL, &r, &err) != 0)
        fail_msg("%s", err.message);
    protobuf_c_message_free_unpacked(r, NULL);
    gi_cri_client_free(slow);
    pthread_join(thread, NULL);
    close(fd);
}

static void test_server_restart(void **state)
{
    Runtime__V1__VersionResponse *r = NULL;
    struct gi_error err = GI_ERROR_INIT;
    mini_server_stop(server);
    server = NULL;
    assert_int_equal(version("v1", NULL, &r, &err), -GI_UNAVAILABLE);
    assert_null(r);
    server = mini_server_start(endpoint + strlen("unix://"));
    int rc = -1;
    for (int i = 0; i < 100 && rc != 0; i++) {
        rc = version("v1", NULL, &r, &err);
        if (rc != 0)
            usleep(50000);
    }
    if (rc != 0)
        fail_msg("no new connection: %s", err.message);
    protobuf_c_message_free_unpacked(&r->base, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_server_error),
        cmocka_unit_test(test_wrong_use),
        cmocka_unit_test(test_deadline_and_cancel),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_open_stream),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_bad_endpoint),
        cmocka_unit_test(test_slow_server),
        cmocka_unit_test(test_server_restart),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
