/* SPDX-License-Identifier: Apache-2.0 */
/* PCI addresses as people write them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xen_driver.h"

/* N hexadecimal digits, then the byte END. The value, or -1. */
static int field(const char **at, size_t n, char end)
{
    char digits[5] = "";
    if (strspn(*at, "0123456789abcdefABCDEF") != n || (*at)[n] != end)
        return -1;
    memcpy(digits, *at, n);
    *at += n + (end ? 1 : 0);
    return (int)strtol(digits, NULL, 16);
}

int pci_parse(const char *text, libxl_device_pci *ret, struct gi_error *err)
{
    const char *at = text;
    int domain = field(&at, 4, ':');
    int bus = domain < 0 ? -1 : field(&at, 2, ':');
    int dev = bus < 0 ? -1 : field(&at, 2, '.');
    int func = dev < 0 ? -1 : field(&at, 1, '\0');
    if (func < 0 || dev > 0x1f || func > 7)
        return gi_fail(err, GI_INVALID_ARGUMENT, "\"%.40s\" is no PCI address as 0000:01:00.0",
                       text);
    libxl_device_pci_init(ret);
    ret->domain = domain;
    ret->bus = (uint8_t)bus;
    ret->dev = (uint8_t)dev;
    ret->func = (uint8_t)func;
    return 0;
}
