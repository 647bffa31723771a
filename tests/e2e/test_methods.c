/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods beyond a pod's plain life: events, streamed lists, metrics, live
 * limits, and those that are refused with a reason. Started by methods.sh.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
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
#include "json/json.h"

static struct podkit kit;
static char pod[80];
static const char *const sleeper[] = {"/bin/sleep", "1000", NULL};

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct gi_error ok_err_ = GI_ERROR_INIT, *err = &ok_err_;                                  \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", gi_code_name(err->code), err->message);                             \
    } while (0)

static int call(const char *method, const ProtobufCMessage *request, void *ret,
                struct gi_error *err)
{
    struct gi_cri_call_options opt = {.timeout_ms = 60000};
    return gi_cri_call(kit.client, method, request, &opt, ret, err);
}

static int setup(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    if (podkit_open(&kit) < 0)
        return -1;
    if (podkit_run_pod(&kit, "methods", NULL, pod, &err) < 0) {
        fprintf(stderr, "no pod: %s\n", err.message);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    if (podkit_stop_pod(&kit, pod, &err) < 0 || podkit_remove_pod(&kit, pod, &err) < 0) {
        fprintf(stderr, "removing the pod: %s\n", err.message);
        return -1;
    }
    podkit_close(&kit);
    return 0;
}

/* ---- events ---- */

static struct {
    pthread_mutex_t lock;
    char id[80];
    int kinds[16];
    unsigned n, statuses;
    atomic_bool stop;
} heard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int hear(void *data, const ProtobufCMessage *message)
{
    const Runtime__V1__ContainerEventResponse *e = (const void *)message;
    (void)data;
    GI_LOCK_SCOPE(&heard.lock);
    if (strcmp(e->container_id, heard.id) == 0 && heard.n < 16) {
        heard.kinds[heard.n++] = (int)e->container_event_type;
        heard.statuses += e->pod_sandbox_status != NULL;
    }
    return 0;
}

static bool enough(void *data)
{
    (void)data;
    return heard.stop;
}

static void *listen_main(void *arg)
{
    Runtime__V1__GetEventsRequest q = RUNTIME__V1__GET_EVENTS_REQUEST__INIT;
    struct gi_cri_call_options opt = {.cancelled = enough};
    (void)arg;
    gi_cri_stream(kit.client, "GetContainerEvents", &q.base, &opt, hear, NULL, NULL);
    return NULL;
}

static void await_events(unsigned n)
{
    for (int i = 0; i < 200; i++) {
        {
            GI_LOCK_SCOPE(&heard.lock);
            if (heard.n >= n)
                return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    fail_msg("%u events instead of %u", heard.n, n);
}

static void every_change_is_told_once_and_in_order(void **state)
{
    pthread_t thread;
    char id[80];
    assert_int_equal(pthread_create(&thread, NULL, listen_main, NULL), 0);
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    OK(podkit_create(&kit, pod, "methods", "told", NULL, sleeper, id, err));
    {
        /* Its creation may have been told before its id was known here. */
        GI_LOCK_SCOPE(&heard.lock);
        memcpy(heard.id, id, sizeof(id));
    }
    OK(podkit_start(&kit, id, err));
    await_events(1);
    OK(podkit_stop(&kit, id, 0, err));
    await_events(2);
    OK(podkit_remove(&kit, id, err));
    await_events(3);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    GI_LOCK_SCOPE(&heard.lock);
    unsigned first = heard.kinds[0] == RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT;
    assert_int_equal(heard.n, 3 + first);
    assert_int_equal(heard.kinds[first],
                     RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT);
    assert_int_equal(heard.kinds[first + 1],
                     RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
    assert_int_equal(heard.kinds[first + 2],
                     RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT);
    assert_int_equal(heard.statuses, heard.n);
    heard.stop = true;
    pthread_join(thread, NULL);
}

/* ---- streams ---- */

static int count(void *data, const ProtobufCMessage *message)
{
    /* Every Stream*Response is one repeated field. */
    *(size_t *)data +=
        *(const size_t *)((const char *)message + message->descriptor->fields[0].quantifier_offset);
    return 0;
}

static size_t streamed(const char *method, const ProtobufCMessage *request)
{
    struct gi_error err = GI_ERROR_INIT;
    struct gi_cri_call_options opt = {.timeout_ms = 60000};
    size_t n = 0;
    if (gi_cri_stream(kit.client, method, request, &opt, count, &n, &err) < 0)
        fail_msg("%s: %s", method, err.message);
    return n;
}

static size_t listed_images(void)
{
    Runtime__V1__ListImagesRequest q = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    Runtime__V1__ListImagesResponse *r = NULL;
    OK(call("ListImages", &q.base, &r, err));
    size_t n = r->n_images;
    podkit_free(r);
    assert_true(n > 0);
    return n;
}

static void streams_have_what_lists_have(void **state)
{
    char ids[3][80];
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%d", i);
        OK(podkit_create(&kit, pod, "methods", name, NULL, sleeper, ids[i], err));
        OK(podkit_start(&kit, ids[i], err));
    }
    Runtime__V1__StreamContainersRequest c = RUNTIME__V1__STREAM_CONTAINERS_REQUEST__INIT;
    Runtime__V1__ContainerFilter f = RUNTIME__V1__CONTAINER_FILTER__INIT;
    Runtime__V1__StreamPodSandboxesRequest p = RUNTIME__V1__STREAM_POD_SANDBOXES_REQUEST__INIT;
    Runtime__V1__StreamImagesRequest i = RUNTIME__V1__STREAM_IMAGES_REQUEST__INIT;
    Runtime__V1__StreamContainerStatsRequest cs = RUNTIME__V1__STREAM_CONTAINER_STATS_REQUEST__INIT;
    Runtime__V1__StreamPodSandboxStatsRequest ps =
        RUNTIME__V1__STREAM_POD_SANDBOX_STATS_REQUEST__INIT;
    Runtime__V1__StreamPodSandboxMetricsRequest pm =
        RUNTIME__V1__STREAM_POD_SANDBOX_METRICS_REQUEST__INIT;
    f.pod_sandbox_id = pod;
    c.filter = &f;
    assert_int_equal(streamed("StreamContainers", &c.base), 3);
    f.id = ids[0];
    assert_int_equal(streamed("StreamContainers", &c.base), 1);
    assert_int_equal(streamed("StreamPodSandboxes", &p.base), 1);
    assert_int_equal(streamed("StreamImages", &i.base), listed_images());
    assert_int_equal(streamed("StreamContainerStats", &cs.base), 3);
    assert_int_equal(streamed("StreamPodSandboxStats", &ps.base), 1);
    assert_int_equal(streamed("StreamPodSandboxMetrics", &pm.base), 1);
    for (int k = 0; k < 3; k++)
        OK(podkit_remove(&kit, ids[k], err));
}

/* ---- metrics ---- */

static size_t labels_of(const Runtime__V1__ListMetricDescriptorsResponse *d, const char *name)
{
    for (size_t i = 0; i < d->n_descriptors; i++) {
        if (strcmp(d->descriptors[i]->name, name) == 0)
            return d->descriptors[i]->n_label_keys;
    }
    return 0;
}

static void metrics_have_descriptors_and_values(void **state)
{
    char id[80];
    OK(podkit_create(&kit, pod, "methods", "m", NULL, sleeper, id, err));
    OK(podkit_start(&kit, id, err));
    Runtime__V1__ListMetricDescriptorsRequest dq =
        RUNTIME__V1__LIST_METRIC_DESCRIPTORS_REQUEST__INIT;
    Runtime__V1__ListMetricDescriptorsResponse *d = NULL;
    Runtime__V1__ListPodSandboxMetricsRequest mq =
        RUNTIME__V1__LIST_POD_SANDBOX_METRICS_REQUEST__INIT;
    Runtime__V1__ListPodSandboxMetricsResponse *m = NULL;
    OK(call("ListMetricDescriptors", &dq.base, &d, err));
    OK(call("ListPodSandboxMetrics", &mq.base, &m, err));
    assert_true(d->n_descriptors > 40);
    assert_int_equal(m->n_pod_metrics, 1);
    assert_int_equal(m->pod_metrics[0]->n_container_metrics, 1);
    const Runtime__V1__ContainerMetrics *c = m->pod_metrics[0]->container_metrics[0];
    assert_string_equal(c->container_id, id);
    /* This pod has no network; what has two values has one descriptor. */
    size_t network = 0, twice = 0;
    for (size_t i = 0; i < d->n_descriptors; i++)
        network += strstr(d->descriptors[i]->name, "_network_") != NULL;
    for (size_t i = 1; i < c->n_metrics; i++)
        twice += strcmp(c->metrics[i]->name, c->metrics[i - 1]->name) == 0;
    assert_int_equal(network, 8);
    assert_int_equal(c->n_metrics, d->n_descriptors - network + twice);
    bool memory = false, now = false;
    for (size_t i = 0; i < c->n_metrics; i++) {
        const Runtime__V1__Metric *x = c->metrics[i];
        assert_int_equal(x->n_label_values, labels_of(d, x->name));
        memory |= strcmp(x->name, "container_memory_usage_bytes") == 0 && x->value->value > 0;
        if (strcmp(x->name, "container_processes") == 0)
            assert_int_equal(x->value->value, 1);
        if (strcmp(x->name, "container_start_time_seconds") == 0)
            now = x->value->value <= (uint64_t)time(NULL) &&
                  x->value->value + 60 > (uint64_t)time(NULL);
    }
    assert_true(memory);
    assert_true(now);
    podkit_free(d);
    podkit_free(m);
    OK(podkit_remove(&kit, id, err));
}

/* ---- limits ---- */

static int update(char *id, Runtime__V1__LinuxContainerResources *r, struct gi_error *err)
{
    Runtime__V1__UpdateContainerResourcesRequest q =
        RUNTIME__V1__UPDATE_CONTAINER_RESOURCES_REQUEST__INIT;
    void *response = NULL;
    q.container_id = id;
    q.linux = r;
    int rc = call("UpdateContainerResources", &q.base, &response, err);
    podkit_free(response);
    return rc;
}

static void limits_change_while_it_runs(void **state)
{
    char id[80];
    struct gi_error why = GI_ERROR_INIT;
    Runtime__V1__LinuxContainerResources r = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    OK(podkit_create(&kit, pod, "methods", "u", NULL, sleeper, id, err));
    OK(podkit_start(&kit, id, err));
    r.cpu_quota = -7;
    assert_int_equal(update(id, &r, &why), -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(why.message, "linux.cpu_quota"));
    assert_int_equal(update(id, NULL, &why), -GI_INVALID_ARGUMENT);
    r.cpu_quota = 0;
    r.memory_limit_in_bytes = 96 << 20;
    OK(update(id, &r, err));
    Runtime__V1__ContainerStatusResponse *s = NULL;
    OK(podkit_status(&kit, id, &s, err));
    assert_int_equal(s->status->resources->linux->memory_limit_in_bytes, 96 << 20);
    podkit_free(s);
    OK(podkit_stop(&kit, id, 0, err));
    assert_int_equal(update(id, &r, &why), -GI_FAILED_PRECONDITION);
    OK(podkit_remove(&kit, id, err));
}

/* Of the machine's cgroup, whichever of the two the host has. */
static void assert_limit(const char *v1, const char *v2, const char *want)
{
    char path[256], text[64] = "";
    const char *parent = kit.cgroup_parent ? kit.cgroup_parent : "/gpu-isolated";
    snprintf(path, sizeof(path), "/sys/fs/cgroup/%.*s%s/%s/%s", (int)strcspn(v1, "."), v1, parent,
             pod, v1);
    FILE *f = fopen(path, "re");
    if (!f) {
        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s/%s", parent, pod, v2);
        f = fopen(path, "re");
    }
    if (!f || !fgets(text, sizeof(text), f))
        fail_msg("can't read %s", path);
    fclose(f);
    text[strcspn(text, " \n")] = '\0';
    assert_string_equal(text, want);
}

static int resize(char *id, Runtime__V1__LinuxContainerResources *resources,
                  Runtime__V1__LinuxContainerResources *overhead, struct gi_error *err)
{
    Runtime__V1__UpdatePodSandboxResourcesRequest q =
        RUNTIME__V1__UPDATE_POD_SANDBOX_RESOURCES_REQUEST__INIT;
    void *response = NULL;
    q.pod_sandbox_id = id;
    q.resources = resources;
    q.overhead = overhead;
    int rc = call("UpdatePodSandboxResources", &q.base, &response, err);
    podkit_free(response);
    return rc;
}

static void a_pod_is_resized_while_it_runs(void **state)
{
    if (!kit.local)
        skip(); /* tests/xen/steps/resize.sh */
    struct gi_error why = GI_ERROR_INIT;
    Runtime__V1__LinuxContainerResources r = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    Runtime__V1__LinuxContainerResources o = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    r.memory_limit_in_bytes = 900 << 20;
    r.cpu_period = 100000;
    r.cpu_quota = 150000;
    o.memory_limit_in_bytes = 100 << 20;
    OK(resize(pod, &r, &o, err));
    assert_limit("memory.limit_in_bytes", "memory.max", "1048576000");
    assert_limit("cpu.cfs_quota_us", "cpu.max", "200000");
    /* What is not given stays. */
    r.memory_limit_in_bytes = 0;
    r.cpu_quota = 300000;
    OK(resize(pod, &r, NULL, err));
    assert_limit("memory.limit_in_bytes", "memory.max", "1048576000");
    assert_limit("cpu.cfs_quota_us", "cpu.max", "300000");
    OK(resize(pod, NULL, NULL, err));
    /* Less than it uses is refused, nobody is killed. */
    r.memory_limit_in_bytes = 4096;
    assert_int_equal(resize(pod, &r, NULL, &why), -GI_FAILED_PRECONDITION);
    assert_limit("memory.limit_in_bytes", "memory.max", "1048576000");
    r.memory_limit_in_bytes = -7;
    assert_int_equal(resize(pod, &r, NULL, &why), -GI_INVALID_ARGUMENT);
    assert_non_null(strstr(why.message, "resources.memory_limit_in_bytes"));
    assert_int_equal(resize((char *)"", NULL, NULL, &why), -GI_INVALID_ARGUMENT);
    assert_int_equal(resize((char *)"gi-none", NULL, NULL, &why), -GI_NOT_FOUND);
}

/* ---- the node's ---- */

static int configure(char *cidr, struct gi_error *err)
{
    Runtime__V1__NetworkConfig n = RUNTIME__V1__NETWORK_CONFIG__INIT;
    Runtime__V1__RuntimeConfig c = RUNTIME__V1__RUNTIME_CONFIG__INIT;
    Runtime__V1__UpdateRuntimeConfigRequest q = RUNTIME__V1__UPDATE_RUNTIME_CONFIG_REQUEST__INIT;
    void *response = NULL;
    n.pod_cidr = cidr;
    c.network_config = cidr ? &n : NULL;
    q.runtime_config = &c;
    int rc = call("UpdateRuntimeConfig", &q.base, &response, err);
    podkit_free(response);
    return rc;
}

/* WANT: JSON; NULL: nothing is said. */
static void assert_cidr(const char *want)
{
    Runtime__V1__StatusRequest q = RUNTIME__V1__STATUS_REQUEST__INIT;
    Runtime__V1__StatusResponse *r = NULL;
    const char *got = NULL;
    q.verbose = 1;
    OK(call("Status", &q.base, &r, err));
    for (size_t i = 0; i < r->n_info; i++)
        if (strcmp(r->info[i]->key, "podCidr") == 0)
            got = r->info[i]->value;
    if (want && got)
        assert_string_equal(got, want);
    else
        assert_ptr_equal(got, want);
    podkit_free(r);
}

static void the_kubelets_pod_cidr_is_kept(void **state)
{
    struct gi_error why = GI_ERROR_INIT;
    assert_cidr(NULL);
    OK(configure((char *)"10.88.0.0/16,fd00:88::/64", err));
    assert_cidr("\"10.88.0.0/16,fd00:88::/64\"");
    char *wrong[] = {(char *)"10.88.0.0",  (char *)"10.88.0.0/33",  (char *)"10.88/16",
                     (char *)"fd00::/129", (char *)"10.88.0.0/16,", (char *)"10.88.0.0/x"};
    for (size_t i = 0; i < GI_ARRAY_SIZE(wrong); i++) {
        assert_int_equal(configure(wrong[i], &why), -GI_INVALID_ARGUMENT);
        assert_non_null(strstr(why.message, "network_config.pod_cidr"));
    }
    OK(configure(NULL, err)); /* nothing said, nothing changed */
    assert_cidr("\"10.88.0.0/16,fd00:88::/64\"");
    OK(configure((char *)"", err));
    assert_cidr(NULL);
}

/* ---- what is not done ---- */

static void refusals_say_why(void **state)
{
    Runtime__V1__CheckpointContainerRequest c = RUNTIME__V1__CHECKPOINT_CONTAINER_REQUEST__INIT;
    Runtime__V1__CheckpointPodRequest p = RUNTIME__V1__CHECKPOINT_POD_REQUEST__INIT;
    Runtime__V1__RestorePodRequest r = RUNTIME__V1__RESTORE_POD_REQUEST__INIT;
    const struct {
        const char *method;
        const ProtobufCMessage *request;
        const char *why;
    } all[] = {{"CheckpointContainer", &c.base, "checkpoint"},
               {"CheckpointPod", &p.base, "checkpoint"},
               {"RestorePod", &r.base, "checkpoint"}};
    for (size_t i = 0; i < GI_ARRAY_SIZE(all); i++) {
        struct gi_error err = GI_ERROR_INIT;
        void *response = NULL;
        assert_int_equal(call(all[i].method, all[i].request, &response, &err), -GI_UNIMPLEMENTED);
        assert_non_null(strstr(err.message, all[i].why));
    }
}

/* crictl info takes each entry for JSON; the kubelet wants both file systems. */
static void the_nodes_own_figures(void **state)
{
    Runtime__V1__StatusRequest status = RUNTIME__V1__STATUS_REQUEST__INIT;
    Runtime__V1__StatusResponse *r = NULL;
    status.verbose = 1;
    OK(call("Status", &status.base, &r, err));
    assert_true(r->n_info >= 3);
    for (size_t i = 0; i < r->n_info; i++) {
        const char *text = r->info[i]->value;
        struct gi_json *parsed = NULL;
        OK(gi_json_parse(text, strlen(text), NULL, r->info[i]->key, &parsed, err));
        if (strcmp(r->info[i]->key, "config") == 0)
            assert_string_equal(gi_json_get_string(parsed, "machine_driver"),
                                kit.local ? "local" : "xen");
        gi_json_free(parsed);
    }
    podkit_free(r);

    Runtime__V1__ImageFsInfoRequest ask = RUNTIME__V1__IMAGE_FS_INFO_REQUEST__INIT;
    Runtime__V1__ImageFsInfoResponse *info = NULL;
    OK(call("ImageFsInfo", &ask.base, &info, err));
    assert_int_equal(info->n_image_filesystems, 1);
    assert_true(info->image_filesystems[0]->used_bytes->value > 0);
    assert_int_equal(info->n_container_filesystems, 1);
    assert_int_equal(info->container_filesystems[0]->fs_id->mountpoint[0], '/');
    assert_non_null(info->container_filesystems[0]->used_bytes);
    podkit_free(info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_change_is_told_once_and_in_order),
        cmocka_unit_test(streams_have_what_lists_have),
        cmocka_unit_test(metrics_have_descriptors_and_values),
        cmocka_unit_test(limits_change_while_it_runs),
        cmocka_unit_test(a_pod_is_resized_while_it_runs),
        cmocka_unit_test(the_kubelets_pod_cidr_is_kept),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(the_nodes_own_figures),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
