/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <xen/grant_table.h>
/* After the types that it needs. */
#include <xen/gntdev.h>

#include "base/cleanup.h"
#include "grants.h"

/* Says what is to be mapped; mmap(2) on the descriptor maps it, all at once and
 * at offset 0. References that the domain did not grant fail there. Only a
 * domain that Xen translates for (PVH, HVM) may map it in a process that did
 * not open it, which is why the driver domain is one. */
int grants_map(uint32_t domid, const uint32_t *refs, uint64_t bytes, int *ret_fd,
               struct gi_error *err)
{
    uint32_t count = (uint32_t)(bytes / GRANTS_PAGE);
    cleanup_close int fd = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);
    cleanup_free struct ioctl_gntdev_map_grant_ref *ask =
        calloc(1, sizeof(*ask) + (size_t)count * sizeof(ask->refs[0]));
    if (fd < 0 || !ask)
        return gi_fail_errno(err, fd < 0 ? errno : ENOMEM, "/dev/xen/gntdev");
    ask->count = count;
    for (uint32_t i = 0; i < count; i++)
        ask->refs[i] = (struct ioctl_gntdev_grant_ref){.domid = domid, .ref = refs[i]};
    if (ioctl(fd, IOCTL_GNTDEV_MAP_GRANT_REF, ask) < 0)
        return gi_fail_errno(err, errno, "map %u granted pages", count);
    if (ask->index != 0)
        return gi_fail(err, GI_INTERNAL, "gntdev maps at offset %llu",
                       (unsigned long long)ask->index);
    *ret_fd = TAKE_FD(fd);
    return 0;
}
