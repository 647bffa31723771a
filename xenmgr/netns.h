/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network namespaces that live by a bind mount, so that CNI plugins can attach
 * to one before its machine is there and detach after it has gone.
 */
#ifndef GI_XENMGR_NETNS_H
#define GI_XENMGR_NETNS_H

#include <stdbool.h>

#include "base/error.h"

/* A fresh namespace with loopback up, at PATH (its folder is there). ALREADY_EXISTS. */
int netns_create(const char *path, struct gi_error *err);
/* Whether PATH is a namespace now: after a reboot it is an empty file or nothing. */
bool netns_exists(const char *path);
/* Gone already: success. */
int netns_remove(const char *path, struct gi_error *err);

#endif
