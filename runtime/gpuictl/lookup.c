/* SPDX-License-Identifier: Apache-2.0 */
#include "lookup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
    const char *text;
    int rank; /* of the best match so far: 3 id, 2 name, 1 beginning */
    int count;
    int kind;
    const char *id, *uid;
};

static bool id_begins(const char *id, const char *text)
{
    size_t n = strlen(text);
    if (strncmp(id, text, n) == 0)
        return true;
    return strncmp(id, "gi-", 3) == 0 && strncmp(id + 3, text, n) == 0;
}

static void consider(struct search *s, int kind, const char *id, const char *uid, bool name_fits)
{
    int rank = strcmp(id, s->text) == 0 ? 3 : name_fits ? 2 : id_begins(id, s->text) ? 1 : 0;
    if (rank == 0 || rank < s->rank)
        return;
    s->count = rank > s->rank ? 1 : s->count + 1;
    s->rank = rank;
    s->kind = kind;
    s->id = id;
    s->uid = uid;
}

static bool pod_name_fits(const Runtime__V1__PodSandboxMetadata *m, const char *text)
{
    char full[1024];
    if (!m)
        return false;
    snprintf(full, sizeof(full), "%.500s/%.500s", m->namespace_, m->name);
    return strcmp(m->name, text) == 0 || strcmp(full, text) == 0;
}

static int finish(const struct search *s, const char *what, struct lookup *ret,
                  struct gi_error *err)
{
    if (s->count == 0)
        return gi_fail(err, GI_NOT_FOUND, "no %s is called \"%.100s\"", what, s->text);
    if (s->count > 1)
        return gi_fail(err, GI_INVALID_ARGUMENT, "\"%.100s\" fits %d of them: give more of the id",
                       s->text, s->count);
    struct lookup l = {.kind = s->kind, .id = strdup(s->id), .uid = s->uid ? strdup(s->uid) : NULL};
    if (!l.id || (s->uid && !l.uid)) {
        lookup_free(&l);
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    }
    *ret = l;
    return 0;
}

int lookup(struct ctl *ctl, const char *text, int kinds, struct lookup *ret, struct gi_error *err)
{
    cleanup_message Runtime__V1__ListPodSandboxResponse *pods = NULL;
    cleanup_message Runtime__V1__ListContainersResponse *containers = NULL;
    struct search s = {.text = text};

    if (!*text)
        return gi_fail(err, GI_INVALID_ARGUMENT, "an empty name");
    if (kinds & LOOKUP_POD) {
        Runtime__V1__ListPodSandboxRequest r = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
        int rc = ctl_call(ctl, "ListPodSandbox", &r.base, -1, &pods, err);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < pods->n_items; i++)
            consider(&s, LOOKUP_POD, pods->items[i]->id,
                     pods->items[i]->metadata ? pods->items[i]->metadata->uid : NULL,
                     pod_name_fits(pods->items[i]->metadata, text));
    }
    /* `run` gives a pod and its container one name: the pod is meant then. */
    if ((kinds & LOOKUP_CONTAINER) && s.rank < 2) {
        Runtime__V1__ListContainersRequest r = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
        int rc = ctl_call(ctl, "ListContainers", &r.base, -1, &containers, err);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < containers->n_containers; i++) {
            const Runtime__V1__Container *c = containers->containers[i];
            consider(&s, LOOKUP_CONTAINER, c->id, NULL,
                     c->metadata && strcmp(c->metadata->name, text) == 0);
        }
    }
    return finish(&s,
                  kinds == LOOKUP_POD         ? "pod"
                  : kinds == LOOKUP_CONTAINER ? "container"
                                              : "pod or container",
                  ret, err);
}

int lookup_container(struct ctl *ctl, const char *text, struct lookup *ret, struct gi_error *err)
{
    cleanup_lookup struct lookup pod = {0};
    int rc = lookup(ctl, text, LOOKUP_CONTAINER, ret, err);
    if (rc != -GI_NOT_FOUND)
        return rc;
    rc = lookup(ctl, text, LOOKUP_POD, &pod, err);
    if (rc < 0)
        return rc == -GI_NOT_FOUND
                   ? gi_fail(err, GI_NOT_FOUND, "no container or pod is called \"%.100s\"", text)
                   : rc;
    Runtime__V1__ContainerFilter filter = RUNTIME__V1__CONTAINER_FILTER__INIT;
    Runtime__V1__ListContainersRequest r = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    cleanup_message Runtime__V1__ListContainersResponse *list = NULL;
    filter.pod_sandbox_id = pod.id;
    r.filter = &filter;
    rc = ctl_call(ctl, "ListContainers", &r.base, -1, &list, err);
    if (rc < 0)
        return rc;
    struct search s = {.text = text, .kind = LOOKUP_CONTAINER, .count = (int)list->n_containers};
    if (list->n_containers == 1)
        s.id = list->containers[0]->id;
    return finish(&s, "container in the pod", ret, err);
}

int lookup_each(struct ctl *ctl, int argc, char **argv, const char *done,
                int (*fn)(struct ctl *ctl, const struct lookup *l, void *data,
                          struct gi_error *err),
                void *data)
{
    int rc = EXIT_OK;
    for (int i = 0; i < argc; i++) {
        struct gi_error err = GI_ERROR_INIT;
        cleanup_lookup struct lookup l = {0};
        if (lookup(ctl, argv[i], LOOKUP_POD | LOOKUP_CONTAINER, &l, &err) < 0 ||
            fn(ctl, &l, data, &err) < 0)
            rc = ctl_report(ctl, &err, argv[i]);
        else if (!ctl->json)
            printf("%s %s\n", done, l.id);
    }
    return rc;
}

void lookup_free(struct lookup *l)
{
    free(l->id);
    free(l->uid);
    *l = (struct lookup){0};
}
