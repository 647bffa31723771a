/* SPDX-License-Identifier: Apache-2.0 */
/* Debian's docker-registry on a loopback port of its own. */
#ifndef GI_TEST_REAL_REGISTRY_H
#define GI_TEST_REAL_REGISTRY_H

#include <sys/types.h>

struct real_registry {
    pid_t pid;
    int port;
};

/* DIR gets config and content. HTPASSWD: file for basic auth, or NULL. CERT:
 * PEM file with certificate and key for TLS, or NULL. 0, or -1 when it doesn't
 * come up. */
int real_registry_start(struct real_registry *r, const char *dir, const char *htpasswd,
                        const char *cert);
void real_registry_stop(struct real_registry *r);

#endif
