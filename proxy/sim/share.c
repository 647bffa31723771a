/* SPDX-License-Identifier: Apache-2.0 */
#include "share.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MAGIC   0x306c646e48536967ull /* "giSHndl0" */
#define VERSION 1u

_Static_assert(sizeof(struct share_handle) == 64, "what CUDA has room for");

void share_handle_init(struct share_handle *h, enum memfile_kind kind, int device, int fd)
{
    *h = (struct share_handle){.magic = MAGIC,
                               .version = VERSION,
                               .kind = (uint16_t)kind,
                               .process = memfile_process(),
                               .pid = getpid(),
                               .fd = fd,
                               .device = device};
}

bool share_handle_is(const struct share_handle *h, enum memfile_kind kind)
{
    return h->magic == MAGIC && h->version == VERSION && h->kind == (uint16_t)kind && !h->zero &&
           h->replaced <= 1;
}

bool share_handle_is_own(const struct share_handle *h)
{
    return h->process == memfile_process();
}

/* Another process's descriptor. What it is, we know afterwards: only a file is opened. */
static int open_theirs(const struct share_handle *h)
{
    char path[64];
    struct stat st;
    if (h->pid <= 0 || h->fd < 0)
        return -1;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", h->pid, h->fd);
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

int share_open(const struct share_handle *h, enum memfile_kind kind, struct memfile *ret_file)
{
    struct memfile file;
    cleanup_close int fd = h->replaced ? fcntl(h->fd, F_DUPFD_CLOEXEC, 0) : open_theirs(h);
    if (fd < 0 || !memfile_check(fd, kind, &file))
        return -1;
    if (file.process != h->process || file.device != h->device || !h->bytes ||
        h->bytes > file.bytes || h->offset > file.bytes - h->bytes)
        return -1;
    *ret_file = file;
    return TAKE_FD(fd);
}
