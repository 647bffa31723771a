/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lists as streams: what the list's handler answers, in messages of a
 * bounded number of items, so that no message outgrows gRPC's limit.
 */
#include <stdlib.h>

#include "services/services.h"

#define ITEMS 100 /* a message */

/* Every Stream*Response is one repeated field. */
struct one_list {
    ProtobufCMessage base;
    size_t n;
    void **items;
};

static int send_items(struct rpc_call *call, void *items, size_t n,
                      const ProtobufCMessageDescriptor *type, struct gi_error *err)
{
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < n; at += ITEMS) {
        struct one_list *m = pb_new(type);
        m->items = (void **)items + at; /* the list's, lent */
        m->n = n - at < ITEMS ? n - at : ITEMS;
        rc = rpc_send(call, &m->base, err);
        m->items = NULL;
        m->n = 0;
        pb_free(m);
    }
    return rc;
}

/* NAME: the list's handler, REQUEST and RESPONSE its messages, FIELD its items. */
#define STREAM(handler, list, Request, request_init, Response, response_type, field,               \
               StreamRequest, stream_type, take)                                                   \
    HANDLER(handler)                                                                               \
    {                                                                                              \
        const StreamRequest *q = request;                                                          \
        Request as_list = request_init;                                                            \
        (void)response;                                                                            \
        (void)q;                                                                                   \
        take;                                                                                      \
        cleanup_pb Response *r = pb_new(&response_type);                                           \
        int rc = cri_##list(call, &as_list, r, err);                                               \
        return rc < 0 ? rc : send_items(call, r->field, r->n_##field, &stream_type, err);          \
    }

STREAM(stream_pod_sandboxes, list_pod_sandbox, Runtime__V1__ListPodSandboxRequest,
       RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT, Runtime__V1__ListPodSandboxResponse,
       runtime__v1__list_pod_sandbox_response__descriptor, items,
       Runtime__V1__StreamPodSandboxesRequest,
       runtime__v1__stream_pod_sandboxes_response__descriptor, as_list.filter = q->filter)
STREAM(stream_containers, list_containers, Runtime__V1__ListContainersRequest,
       RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT, Runtime__V1__ListContainersResponse,
       runtime__v1__list_containers_response__descriptor, containers,
       Runtime__V1__StreamContainersRequest, runtime__v1__stream_containers_response__descriptor,
       as_list.filter = q->filter)
STREAM(stream_container_stats, list_container_stats, Runtime__V1__ListContainerStatsRequest,
       RUNTIME__V1__LIST_CONTAINER_STATS_REQUEST__INIT, Runtime__V1__ListContainerStatsResponse,
       runtime__v1__list_container_stats_response__descriptor, stats,
       Runtime__V1__StreamContainerStatsRequest,
       runtime__v1__stream_container_stats_response__descriptor, as_list.filter = q->filter)
STREAM(stream_pod_sandbox_stats, list_pod_sandbox_stats, Runtime__V1__ListPodSandboxStatsRequest,
       RUNTIME__V1__LIST_POD_SANDBOX_STATS_REQUEST__INIT, Runtime__V1__ListPodSandboxStatsResponse,
       runtime__v1__list_pod_sandbox_stats_response__descriptor, stats,
       Runtime__V1__StreamPodSandboxStatsRequest,
       runtime__v1__stream_pod_sandbox_stats_response__descriptor, as_list.filter = q->filter)
STREAM(stream_pod_sandbox_metrics, list_pod_sandbox_metrics,
       Runtime__V1__ListPodSandboxMetricsRequest,
       RUNTIME__V1__LIST_POD_SANDBOX_METRICS_REQUEST__INIT,
       Runtime__V1__ListPodSandboxMetricsResponse,
       runtime__v1__list_pod_sandbox_metrics_response__descriptor, pod_metrics,
       Runtime__V1__StreamPodSandboxMetricsRequest,
       runtime__v1__stream_pod_sandbox_metrics_response__descriptor, (void)as_list)
STREAM(stream_images, list_images, Runtime__V1__ListImagesRequest,
       RUNTIME__V1__LIST_IMAGES_REQUEST__INIT, Runtime__V1__ListImagesResponse,
       runtime__v1__list_images_response__descriptor, images, Runtime__V1__StreamImagesRequest,
       runtime__v1__stream_images_response__descriptor, as_list.filter = q->filter)
