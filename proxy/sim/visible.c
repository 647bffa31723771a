/* SPDX-License-Identifier: Apache-2.0 */
/* CUDA_VISIBLE_DEVICES: which of the devices there are, in which order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

void device_uuid(int physical, CUuuid *ret)
{
    static const CUuuid base = {{(char)0x67, (char)0x69, (char)0x2d, (char)0x73, (char)0x69,
                                 (char)0x6d, (char)0x40, (char)0x00, (char)0x80}};
    *ret = base;
    ret->bytes[15] = (char)physical;
}

int device_local(int physical)
{
    for (unsigned i = 0; i < sim.devices; i++) {
        if (sim.physical[i] == physical)
            return (int)i;
    }
    return -1;
}

static void uuid_text(int physical, char text[48])
{
    CUuuid u;
    device_uuid(physical, &u);
    int n = snprintf(text, 48, "GPU-");
    for (int i = 0; i < 16; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        n += snprintf(text + n, (size_t)(48 - n), "%s%02x", dash ? "-" : "",
                      (unsigned char)u.bytes[i]);
    }
}

/* An index, or a UUID as far as it needs to be told apart. -1: none of COUNT devices. */
static int find(const char *word, size_t len, unsigned count)
{
    char text[48], number[16];
    int found = -1;
    if (len == 0 || len >= sizeof(text))
        return -1;
    for (unsigned i = 0; i < count; i++) {
        snprintf(number, sizeof(number), "%u", i);
        if (strlen(number) == len && strncmp(number, word, len) == 0)
            return (int)i;
        uuid_text((int)i, text);
        if (len > 4 && strncmp(text, word, len) == 0) {
            if (found >= 0)
                return -1;
            found = (int)i;
        }
    }
    return found;
}

/* What is behind an entry that is no device doesn't count; one that comes twice leaves none. */
void visible_read(const char *list)
{
    const unsigned count = sim.devices;
    for (unsigned i = 0; i < count; i++)
        sim.physical[i] = (int)i;
    if (!list)
        return;
    sim.devices = 0;
    while (*list) {
        list += strspn(list, " ");
        size_t len = strcspn(list, ","), word = len;
        while (word && list[word - 1] == ' ')
            word--;
        int device = find(list, word, count);
        if (device < 0)
            return;
        if (device_local(device) >= 0 || sim.devices == count) {
            sim.devices = 0;
            return;
        }
        sim.physical[sim.devices++] = device;
        list += len;
        list += *list == ',';
    }
}
