/* SPDX-License-Identifier: Apache-2.0 */
/* Backends read block devices: an image file becomes a loop device. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "xen_driver.h"

#define TRIES 64 /* somebody else may take the number we were told */

int loop_open(const char *image, int *ret_fd, char device[32], struct gi_error *err)
{
    cleanup_close int file = open(image, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return gi_fail_errno(err, errno, "%s", image);
    return loop_of(file, image, false, ret_fd, device, err);
}

int loop_of(int file, const char *name, bool writable, int *ret_fd, char device[32],
            struct gi_error *err)
{
    unsigned flags = LO_FLAGS_AUTOCLEAR | (writable ? 0 : LO_FLAGS_READ_ONLY);
    cleanup_close int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return gi_fail_errno(err, errno, "/dev/loop-control");
    for (int i = 0; i < TRIES; i++) {
        int n = ioctl(control, LOOP_CTL_GET_FREE);
        if (n < 0)
            return gi_fail_errno(err, errno, "a free loop device");
        snprintf(device, 32, "/dev/loop%d", n);
        cleanup_close int fd = open(device, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
        if (fd < 0)
            return gi_fail_errno(err, errno, "%s", device);
        struct loop_config config = {
            .fd = (uint32_t)file,
            .info = {.lo_flags = flags},
        };
        snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%.60s", name);
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            *ret_fd = TAKE_FD(fd);
            return 0;
        }
        if (errno != EBUSY)
            return gi_fail_errno(err, errno, "%s over %s", device, name);
    }
    return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no free loop device");
}
