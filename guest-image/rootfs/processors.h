/* SPDX-License-Identifier: Apache-2.0 */
/* Processors that the machine gets while it runs: the kernel only makes them known
 * (drivers/xen/cpu_hotplug.c); who puts them to work elsewhere is udev. */
#ifndef GI_ROOTFS_PROCESSORS_H
#define GI_ROOTFS_PROCESSORS_H

/* From now on a new one is a SIGIO, which the caller has blocked. The descriptor, or -1 with
 * errno: then there is nothing to follow. */
int processors_follow(void);

/* Puts to work those that came. */
void processors_start(int fd);

#endif
