/* SPDX-License-Identifier: Apache-2.0 */
/* The spec's parts, one file each; gen.h writes JSON. */
#ifndef RT_OCI_PARTS_H
#define RT_OCI_PARTS_H

#include <stdbool.h>

#include "oci/gen.h"
#include "oci/spec.h"

/* What several parts need to know. */
struct oci_context {
    const struct oci_input *in;
    const Runtime__V1__LinuxContainerSecurityContext *security; /* NULL: none */
    const Runtime__V1__LinuxContainerResources *resources;      /* NULL: none */
    bool privileged;                                            /* inside the zone */
    uint64_t caps;                                              /* effective ones */
    uint64_t ambient;
    struct images_user user;
};

/* user.c */
int oci_resolve_user(struct oci_context *c, struct gi_error *err);

/* caps.c */
int oci_choose_caps(struct oci_context *c, struct gi_error *err);
void oci_put_caps(struct gen *g, const struct oci_context *c);
/* Whether the container has capability NAME, as "SYS_ADMIN". */
bool oci_has_cap(const struct oci_context *c, const char *name);

/* process.c */
int oci_put_process(struct gen *g, struct oci_context *c, struct gi_error *err);

/* mounts.c */
int oci_put_mounts(struct gen *g, const struct oci_context *c, struct gi_error *err);
/* Whether what is mounted outside later shall appear in a mount of the container. */
bool oci_follows_mounts(const struct oci_context *c);

/* resources.c */
int oci_put_resources(struct gen *g, const struct oci_context *c, struct gi_error *err);
int oci_put_devices(struct gen *g, const struct oci_context *c, struct gi_error *err);

/* seccomp.c; writes nothing when unconfined */
int oci_put_seccomp(struct gen *g, const struct oci_context *c, struct gi_error *err);

#endif
