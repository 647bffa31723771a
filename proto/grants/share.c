/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xen/gntalloc.h>

#include "base/cleanup.h"
#include "grants.h"

/* A descriptor of its own per piece: its first allocation is at offset 0, and
 * its end, whoever holds it last, is the memory's. */
int grants_share(uint32_t domid, uint64_t bytes, uint32_t *refs, int *ret_fd, struct gi_error *err)
{
    uint32_t count = (uint32_t)(bytes / GRANTS_PAGE);
    cleanup_close int fd = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
    cleanup_free struct ioctl_gntalloc_alloc_gref *ask =
        calloc(1, sizeof(*ask) + (size_t)count * sizeof(ask->gref_ids[0]));
    if (fd < 0 || !ask)
        return gi_fail_errno(err, fd < 0 ? errno : ENOMEM, "/dev/xen/gntalloc");
    ask->domid = (uint16_t)domid;
    ask->flags = GNTALLOC_FLAG_WRITABLE;
    ask->count = count;
    if (ioctl(fd, IOCTL_GNTALLOC_ALLOC_GREF, ask) < 0)
        return errno == ENOSPC || errno == ENOMEM
                   ? gi_fail(err, GI_RESOURCE_EXHAUSTED, "no grants left for %u pages", count)
                   : gi_fail_errno(err, errno, "grant %u pages", count);
    memcpy(refs, ask->gref_ids, (size_t)count * sizeof(*refs));
    *ret_fd = TAKE_FD(fd);
    return 0;
}
