/* SPDX-License-Identifier: Apache-2.0 */
/* Files and descriptors: whole reads and writes, atomic replacement, trees. */
#ifndef GI_BASE_IO_H
#define GI_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Read/write exactly LEN bytes, retrying EINTR and short counts.
 * 0, or -errno; reading past the end is -EPIPE. */
int gi_read_full(int fd, void *buf, size_t len);
int gi_write_full(int fd, const void *buf, size_t len);

/* Reads a whole file of at most MAX bytes into a NUL-terminated heap buffer
 * the caller frees. OUT_OF_RANGE when it is longer. */
int gi_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len,
                 struct gi_error *err);

/* Replaces PATH by DATA so that after a crash either the old or the new
 * content is there, whole: temporary file in the same folder, fsync, rename,
 * fsync of the folder. */
int gi_write_file_atomic(const char *path, const void *data, size_t len, mode_t mode,
                         struct gi_error *err);

/* mkdir -p with MODE for each folder made; existing ones are left alone. */
int gi_mkdir_p(const char *path, mode_t mode, struct gi_error *err);

/* rm -rf NAME below the folder DIRFD (AT_FDCWD with a path works too). Never
 * follows a symbolic link and never crosses into another mounted filesystem.
 * A missing NAME is success. */
int gi_remove_tree_at(int dirfd, const char *name, struct gi_error *err);

/* Sends/receives LEN bytes with up to NFDS descriptors (SCM_RIGHTS) in one
 * message. recv: *nfds is the room in FDS on entry and the count on return;
 * descriptors arrive close-on-exec; if more came than fit, all are closed and
 * -EMSGSIZE is returned. Both return bytes or -errno (0 bytes: the peer is
 * gone). */
ssize_t gi_send_fds(int sock, const void *buf, size_t len, const int *fds, size_t nfds);
ssize_t gi_recv_fds(int sock, void *buf, size_t len, int *fds, size_t *nfds);

/* Nanoseconds: CLOCK_REALTIME since the epoch, CLOCK_MONOTONIC. */
int64_t gi_now_ns(void);
int64_t gi_monotonic_ns(void);

/* Fills OUT with 2*NBYTES random hex digits and a NUL (getrandom(2)). */
int gi_random_hex(char *out, size_t nbytes);

#endif
