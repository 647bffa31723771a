/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host's folder or file as bytes, for zones that do not see it. What the
 * host has may change while it is read; its print then differs the next time.
 */
#ifndef RT_CORE_HOSTFILES_H
#define RT_CORE_HOSTFILES_H

#include <stddef.h>
#include <stdint.h>

#include "agent/agent_client.h"
#include "base/error.h"

struct hostfiles {
    struct agent_file *files; /* their paths and data are heap */
    size_t n;
    size_t bytes;
    uint64_t print; /* of names, owners, modes, sizes and times; never 0 */
};

/* All regular files below the folder PATH, at most as many as agent_put_files takes. Of a
 * volume that Kubernetes wrote (it has a link "..data") those of the version in
 * force; the link never leads out of PATH. INVALID_ARGUMENT names a file that
 * can't be copied (a link, a device), RESOURCE_EXHAUSTED: too many. WITH_DATA
 * false: the print alone. */
int hostfiles_read_folder(const char *path, bool with_data, struct hostfiles *ret,
                          struct gi_error *err);
/* The one regular file PATH, under the name NAME. */
int hostfiles_read_file(const char *path, const char *name, size_t max, bool with_data,
                        struct hostfiles *ret, struct gi_error *err);
void hostfiles_free(struct hostfiles *h);
#define cleanup_hostfiles __attribute__((cleanup(hostfiles_free)))

#endif
