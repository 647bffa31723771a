/* SPDX-License-Identifier: Apache-2.0 */
/* Who a container's process is: the request before the image, names by the image's own files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/parts.h"

#define MAX_ID     INT32_MAX /* -1 and what wraps around to 0 are no ids */
#define MAX_GROUPS 1024u

static int check_id(const char *field, int64_t id, struct gi_error *err)
{
    if (id >= 0 && id <= MAX_ID)
        return 0;
    return gi_fail(err, GI_INVALID_ARGUMENT,
                   "config.linux.security_context.%s: %lld is not from 0 to %d", field,
                   (long long)id, MAX_ID);
}

/* "user", "uid", "uid:gid", "" */
static int user_text(const struct oci_context *c, char *text, size_t size, struct gi_error *err)
{
    const Runtime__V1__LinuxContainerSecurityContext *s = c->security;
    int n;
    if (s && s->run_as_user) {
        int rc = check_id("run_as_user", s->run_as_user->value, err);
        if (rc < 0)
            return rc;
        n = snprintf(text, size, "%lld", (long long)s->run_as_user->value);
    } else if (s && *s->run_as_username) {
        n = snprintf(text, size, "%s", s->run_as_username);
    } else if (s && s->run_as_group) {
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.run_as_group: needs run_as_user or "
                       "run_as_username");
    } else {
        n = snprintf(text, size, "%s", c->in->image->user ? c->in->image->user : "");
    }
    if (n >= 0 && (size_t)n < size && s && s->run_as_group) {
        int rc = check_id("run_as_group", s->run_as_group->value, err);
        if (rc < 0)
            return rc;
        size_t len = (size_t)n;
        n += snprintf(text + len, size - len, ":%lld", (long long)s->run_as_group->value);
    }
    if (n < 0 || (size_t)n >= size)
        return gi_fail(err, GI_INVALID_ARGUMENT, "the container's user name is too long");
    return 0;
}

static int add_group(struct images_user *u, uint32_t gid)
{
    for (size_t i = 0; i < u->n_groups; i++) {
        if (u->groups[i] == gid)
            return 0;
    }
    uint32_t *longer = reallocarray(u->groups, u->n_groups + 1, sizeof(*longer));
    if (!longer)
        return -1;
    u->groups = longer;
    u->groups[u->n_groups++] = gid;
    return 0;
}

int oci_resolve_user(struct oci_context *c, struct gi_error *err)
{
    char text[512];
    int rc = user_text(c, text, sizeof(text), err);
    if (rc == 0)
        rc = images_resolve_user(c->in->image->rootfs, text, &c->user, err);
    if (rc < 0)
        return rc;
    const Runtime__V1__LinuxContainerSecurityContext *s = c->security;
    if (s && s->supplemental_groups_policy == RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict)
        c->user.n_groups = 0;
    else if (s && s->supplemental_groups_policy != RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Merge)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.supplemental_groups_policy: unknown value %d",
                       (int)s->supplemental_groups_policy);
    if (s && s->n_supplemental_groups > MAX_GROUPS)
        return gi_fail(err, GI_INVALID_ARGUMENT,
                       "config.linux.security_context.supplemental_groups: more than %u",
                       MAX_GROUPS);
    if (add_group(&c->user, c->user.gid) < 0)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    for (size_t i = 0; s && i < s->n_supplemental_groups; i++) {
        rc = check_id("supplemental_groups", s->supplemental_groups[i], err);
        if (rc < 0)
            return rc;
        if (add_group(&c->user, (uint32_t)s->supplemental_groups[i]) < 0)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    }
    return 0;
}
