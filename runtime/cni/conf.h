/* SPDX-License-Identifier: Apache-2.0 */
/* Network configuration lists: finding the one that counts, reading it. */
#ifndef GI_CNI_CONF_H
#define GI_CNI_CONF_H

#include <stdbool.h>

#include "base/error.h"
#include "cni/value.h"

#define CNI_MAX_PLUGINS 32

struct cni_valid {
    char container_id[129];
    char ifname[16];
};

struct cni_list {
    yajl_val root; /* the whole document, always in list form */
    const char *name;
    const char *version;
    yajl_val plugins[CNI_MAX_PLUGINS];
    const char *types[CNI_MAX_PLUGINS];
    size_t n_plugins;
    bool disable_check;
    bool disable_gc;
    struct cni_valid *valid_attachments; /* for GC only; NULL otherwise */
    size_t n_valid;
    bool has_status; /* cniVersion 1.1 or newer: STATUS and GC exist */
};

/* Reads a document in list form, or a single plugin's configuration, which
 * becomes a list of one. INVALID_ARGUMENT naming WHAT and the member. */
int cni_list_parse(const char *text, size_t len, const char *what, struct cni_list **ret_list,
                   struct gi_error *err);
/* The first usable file of the folder, by name, as kubelet's other runtimes
 * choose. UNAVAILABLE when there is none, saying why the last one wasn't usable. */
int cni_list_load(const char *dir, struct cni_list **ret_list, struct gi_error *err);
void cni_list_free(struct cni_list *l);

GI_DEFINE_CLEANUP(struct cni_list *, cni_list_free);
#define cleanup_list __attribute__((cleanup(cni_list_freep)))

#endif
