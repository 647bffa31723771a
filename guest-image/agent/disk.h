/* SPDX-License-Identifier: Apache-2.0 */
/* Images that come as disks (a zone that is a Xen domain). */
#ifndef AGENT_DISK_H
#define AGENT_DISK_H

#include "agent.h"

/* What CreateContainer's image_rootfs stands for: a path is itself; "disk:xvdb"
 * is where that disk, an EROFS file system, is mounted, which is done when it is
 * not yet. OUT has PATH_MAX bytes. Waits up to a second for the disk. */
int disk_find_image(const struct agent *a, const char *image_rootfs, char *out,
                    struct gi_error *err);

/* Unmounts it, so that the host can take the disk away. FAILED_PRECONDITION: it is in use. */
void disk_release_image(struct agent *a, struct request req, const char *image_rootfs);

#endif
