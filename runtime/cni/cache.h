/* SPDX-License-Identifier: Apache-2.0 */
/* One file per attachment: the list it was made with and its result. */
#ifndef GI_CNI_CACHE_H
#define GI_CNI_CACHE_H

#include "cni/cni.h"
#include "cni/conf.h"

struct cni_cached {
    struct cni_list *list;
    char *result; /* NULL: the ADD didn't finish */
    char *container_id;
    char *ifname;
    char *netns; /* as it was attached; "" in a file of an older version */
};

/* INVALID_ARGUMENT unless both are usable as part of a file name. */
int cni_cache_check_names(const char *container_id, const char *ifname, struct gi_error *err);

int cni_cache_write(const char *dir, const struct cni_list *l, const struct cni_attachment *a,
                    const char *result, struct gi_error *err);
int cni_cache_read(const char *dir, const char *container_id, const char *ifname,
                   struct cni_cached *ret_cached, struct gi_error *err);
int cni_cache_read_file(const char *dir, const char *file, struct cni_cached *ret_cached,
                        struct gi_error *err);
/* Whether there is a file of the attachment. */
bool cni_cache_has(const char *dir, const char *container_id, const char *ifname);
void cni_cached_clear(struct cni_cached *cached);
void cni_cache_remove(const char *dir, const char *container_id, const char *ifname);

/* Fills L's valid_attachments with everything cached. */
int cni_cache_valid_attachments(const char *dir, struct cni_list *l, struct gi_error *err);

#endif
