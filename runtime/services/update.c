/* SPDX-License-Identifier: Apache-2.0 */
/* Live changes of limits; and what this runtime does not do, with the reason. */
#include <string.h>

#include "services/services.h"

static int check(const char *of, const Runtime__V1__LinuxContainerResources *r,
                 struct gi_error *err)
{
    const Runtime__V1__LinuxContainerResources none = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    if (!r)
        r = &none;
    const struct {
        const char *field;
        int64_t value, least;
    } all[] = {
        {"cpu_period", r->cpu_period, 0},
        {"cpu_quota", r->cpu_quota, -1},
        {"cpu_shares", r->cpu_shares, 0},
        {"memory_limit_in_bytes", r->memory_limit_in_bytes, -1},
        {"memory_swap_limit_in_bytes", r->memory_swap_limit_in_bytes, -1},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(all); i++)
        if (all[i].value < all[i].least)
            return gi_fail(err, GI_INVALID_ARGUMENT, "%s.%s: %lld is less than %lld", of,
                           all[i].field, (long long)all[i].value, (long long)all[i].least);
    return 0;
}

/* With the state lock held: what was given replaces, 0 and "" leave as it was. */
static void remember(struct container *c, const Runtime__V1__LinuxContainerResources *r)
{
    Runtime__V1__ContainerConfig *config = c->rec->config;
    if (!config->linux)
        config->linux = pb_new(&runtime__v1__linux_container_config__descriptor);
    if (!config->linux->resources)
        config->linux->resources = pb_new(&runtime__v1__linux_container_resources__descriptor);
    Runtime__V1__LinuxContainerResources *to = config->linux->resources;
#define TAKE(field)                                                                                \
    if (r->field)                                                                                  \
    to->field = r->field
    TAKE(cpu_period);
    TAKE(cpu_quota);
    TAKE(cpu_shares);
    TAKE(memory_limit_in_bytes);
    TAKE(memory_swap_limit_in_bytes);
#undef TAKE
    if (*r->cpuset_cpus)
        pb_set(&to->cpuset_cpus, r->cpuset_cpus);
    if (*r->cpuset_mems)
        pb_set(&to->cpuset_mems, r->cpuset_mems);
}

HANDLER(update_container_resources)
{
    const Runtime__V1__UpdateContainerResourcesRequest *q = request;
    struct runtime *rt = rpc_app(call);
    cleanup_container struct container *c = NULL;
    cleanup_agent struct agent_ref *a = NULL;
    (void)response;
    if (!*q->container_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "container_id: missing");
    if (!q->linux)
        return gi_fail(err, GI_INVALID_ARGUMENT, "linux: missing");
    int rc = check("linux", q->linux, err);
    if (rc == 0)
        rc = container_find(rt, q->container_id, &c, err);
    if (rc < 0 || !c)
        return rc;
    rc = pod_begin(c->pod, call, err);
    if (rc < 0)
        return rc;
    cleanup_op struct pod *op = c->pod;
    {
        GI_LOCK_SCOPE(&rt->lock);
        Runtime__V1__ContainerState s = container_state(c);
        if (c->gone || (s != RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED &&
                        s != RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING))
            return gi_fail(err, GI_FAILED_PRECONDITION,
                           "container \"%s\" is neither created nor running", c->id);
    }
    rc = pod_agent(c->pod, &a, err);
    const struct agent_resources res = {
        .cpu_period = (uint64_t)q->linux->cpu_period,
        .cpu_quota = q->linux->cpu_quota,
        .cpu_shares = (uint64_t)q->linux->cpu_shares,
        .memory_limit = q->linux->memory_limit_in_bytes,
        .memory_swap = q->linux->memory_swap_limit_in_bytes,
        .cpuset_cpus = *q->linux->cpuset_cpus ? q->linux->cpuset_cpus : NULL,
        .cpuset_mems = *q->linux->cpuset_mems ? q->linux->cpuset_mems : NULL,
    };
    if (rc == 0)
        rc = agent_update_resources(a->client, c->id, &res, agent_patience(rt, call), err);
    if (rc < 0)
        return gi_prefix(err, "update container \"%s\"", c->id);
    {
        GI_LOCK_SCOPE(&rt->lock);
        remember(c, q->linux);
    }
    return container_save(c, err);
}

/* What its programs use they keep: a cgroup (v2) or a guest's balloon that gets less
 * than that has processes killed. */
static int check_use(struct runtime *rt, struct rpc_call *call, struct pod *p,
                     const Runtime__V1__LinuxContainerResources *want, struct gi_error *err)
{
    cleanup_agent struct agent_ref *a = NULL;
    struct agent_pod_stats s;
    if (!want || want->memory_limit_in_bytes <= 0)
        return 0;
    int rc = pod_agent(p, &a, err);
    if (rc == 0)
        rc = agent_pod_stats(a->client, agent_patience(rt, call), &s, err);
    if (rc == 0 && s.total.memory_working_set > (uint64_t)want->memory_limit_in_bytes)
        rc = gi_fail(err, GI_FAILED_PRECONDITION,
                     "it uses more than %lld bytes of memory: its programs have %llu",
                     (long long)want->memory_limit_in_bytes,
                     (unsigned long long)s.total.memory_working_set);
    return rc;
}

/* Of the machine's limits the kubelet keeps the record: a pod made anew has them in its config. */
HANDLER(update_pod_sandbox_resources)
{
    const Runtime__V1__UpdatePodSandboxResourcesRequest *q = request;
    struct runtime *rt = rpc_app(call);
    cleanup_pod struct pod *p = NULL;
    struct pod_wants w;
    (void)response;
    if (!*q->pod_sandbox_id)
        return gi_fail(err, GI_INVALID_ARGUMENT, "pod_sandbox_id: missing");
    int rc = check("resources", q->resources, err);
    if (rc == 0)
        rc = check("overhead", q->overhead, err);
    if (rc < 0)
        return rc;
    rc = pod_find(rt, q->pod_sandbox_id, &p, err);
    if (rc < 0)
        return rc;
    rc = pod_begin(p, call, err);
    if (rc < 0)
        return rc;
    cleanup_op struct pod *op = p;
    {
        GI_LOCK_SCOPE(&rt->lock);
        if (p->gone || !p->machine || pod_state(p) != RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY)
            return gi_fail(err, GI_FAILED_PRECONDITION, "sandbox \"%s\" is not running", p->id);
        podconfig_resize(rt->config, p->rec->config, q->resources, q->overhead, &w);
    }
    rc = check_use(rt, call, p, q->resources, err);
    if (rc == 0)
        rc = machine_resize(p->machine, w.memory_bytes, w.vcpus, err);
    return rc < 0 ? gi_prefix(err, "resize pod %s", p->id) : 0;
}

/* The state of a zone's memory is the zone's: nobody on the host may have it. */
#define NO_CHECKPOINT(name)                                                                        \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        (void)call;                                                                                \
        (void)request;                                                                             \
        (void)response;                                                                            \
        return gi_fail(err, GI_UNIMPLEMENTED,                                                      \
                       "isolated pods can't be checkpointed: GPU contexts can't be saved, and a "  \
                       "zone's memory does not leave it");                                         \
    }
NO_CHECKPOINT(checkpoint_container)
NO_CHECKPOINT(checkpoint_pod)
NO_CHECKPOINT(restore_pod)
