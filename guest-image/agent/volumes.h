/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zone's named volumes: <scratch>/.volumes/NAME. Containers may write
 * there, so nothing below a volume's own folder is followed as a link.
 */
#ifndef AGENT_VOLUMES_H
#define AGENT_VOLUMES_H

#include "agent.h"

#define MAX_VOLUMES 512u

void volume_make(struct agent *a, struct request req, const Gi__Agent__MakeVolume *m);
void volume_remove(struct agent *a, struct request req, const char *name);
void volume_put(struct agent *a, struct request req, const Gi__Agent__PutFiles *m);
void volume_read(struct agent *a, struct request req, const Gi__Agent__ReadFile *m);

/* The folder's path, OUT of PATH_MAX bytes; fails when there is no such volume. */
int volume_path(const struct agent *a, const char *name, char *out, struct gi_error *err);
/* A descriptor (O_PATH) of the folder, or of PATH in it: links lead nowhere out. */
int volume_open(const struct agent *a, const char *name, const char *path, struct gi_error *err);
/* The same for any folder. */
int volume_open_in(const char *folder, const char *path, struct gi_error *err);

/* NAME in DIR opened with FLAGS when it is a regular file, and nothing else ever: opening a
 * pipe can block, opening a device can do more. -1 with errno; EINVAL: it is none. */
int volume_open_regular(int dir, const char *name, int flags);

/* put_files.c: writes what M holds below the folder ROOT. Blocking. */
int put_files(int root, const Gi__Agent__PutFiles *m, struct gi_error *err);

#endif
