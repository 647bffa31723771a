/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a machine driver provides. xenmgr.c keeps handles, references, locks
 * and the watch thread; a driver knows how its machines are made. Calls on one
 * machine come one at a time, calls on different machines at once.
 */
#ifndef GI_XENMGR_DRIVER_H
#define GI_XENMGR_DRIVER_H

#include "xenmgr.h"

/* What the rest of xenmgr may know of a machine; filled by create and adopt. */
struct machine_facts {
    uint32_t zone;
    int pid;      /* 0: none */
    char *netns;  /* heap; NULL: none */
    int death_fd; /* becomes readable when the machine is no more */
    void *state;  /* the driver's own */
};

struct driver {
    const char *name;
    bool shares_host; /* xenmgr_shares_host() */
    int (*open)(const struct xenmgr_config *config, void **ret_driver, struct gi_error *err);
    void (*close)(void *driver);
    const char *(*describe)(const void *driver);
    int (*draw_zone)(void *driver, uint32_t *ret_zone, struct gi_error *err);
    int (*create)(void *driver, const struct machine_config *config, int timeout_ms,
                  struct machine_facts *ret_facts, struct gi_error *err);
    int (*list)(void *driver, char ***ret_ids, size_t *ret_n, struct gi_error *err);
    int (*adopt)(void *driver, const char *id, struct machine_facts *ret_facts,
                 struct gi_error *err);
    /* May be NULL: nothing but the driver's name is known. */
    int (*info)(void *driver, const struct machine_facts *m, struct machine_info *ret,
                struct gi_error *err);
    /* machine_resize(); may be NULL: the driver can't. */
    int (*resize)(void *driver, const char *id, uint64_t memory_bytes, unsigned vcpus,
                  struct gi_error *err);
    /* machine_pause() and machine_unpause(); may be NULL: the driver can't. */
    int (*pause)(void *driver, const char *id, bool paused, struct gi_error *err);
    /* Of one that is no more, for people; may be NULL. */
    void (*why_ended)(void *driver, const struct machine_facts *m, char out[MACHINE_REASON]);
    int (*connect_agent)(void *driver, const char *id, const struct machine_facts *m,
                         int timeout_ms, int *ret_fd, struct gi_error *err);
    int (*share_image)(void *driver, const char *id, const struct machine_facts *m,
                       const char *host_rootfs, char **ret_name, struct gi_error *err);
    /* May be NULL: what is shared is not the machine's alone. */
    int (*unshare_image)(void *driver, const char *id, const struct machine_facts *m,
                         const char *host_rootfs, machine_let_go let_go, void *data,
                         struct gi_error *err);
    /* Both may be NULL: machines have the host's devices. */
    int (*share_device)(void *driver, const char *id, const struct machine_facts *m,
                        const char *host_path, bool writable, dev_t *ret_number,
                        struct gi_error *err);
    int (*unshare_device)(void *driver, const char *id, const struct machine_facts *m,
                          const char *host_path, bool writable, struct gi_error *err);
    int (*destroy)(void *driver, const char *id, const struct machine_facts *m, int grace_ms,
                   struct gi_error *err);
    /* Frees what facts hold; the machine lives on. */
    void (*release)(void *driver, struct machine_facts *m);
    int (*sweep)(void *driver, bool (*keep)(void *data, const char *id), void *data,
                 struct gi_error *err);
};

extern const struct driver local_driver;
extern const struct driver xen_driver; /* only with GI_HAVE_XEN */

/* Every driver's rule for sandbox ids: [A-Za-z0-9_.-]{1,128}, no '.' or '-' first. */
bool machine_id_valid(const char *id);

#endif
