/* SPDX-License-Identifier: Apache-2.0 */
/* Handles and memfiles of other processes: the input is the bytes of a handle and the memfile's
 * last page. What is taken for good can be touched. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "share.h"

#define BYTES 65536u

struct sim_driver sim = {.devices = 2};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file_of(const uint8_t *page, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, BYTES + 4096) < 0 ||
        pwrite(fd, page, size, BYTES) != (ssize_t)size ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        __builtin_trap();
    return fd;
}

static void touch(const struct share_handle *h, enum memfile_kind kind)
{
    struct memfile file;
    cleanup_close int fd = share_handle_is(h, kind) ? share_open(h, kind, &file) : -1;
    if (fd < 0)
        return;
    uint8_t *p = memfile_map(fd, 0, file.bytes);
    if (!p)
        __builtin_trap();
    p[h->offset] = p[h->offset + h->bytes - 1] = 1;
    munmap(p, file.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct share_handle h;
    struct memfile file;
    if (size < sizeof(h) || size > sizeof(h) + 4096)
        return 0;
    memcpy(&h, data, sizeof(h));
    cleanup_close int fd = file_of(data + sizeof(h), size - sizeof(h));
    h.fd = fd;
    h.replaced = 1;
    touch(&h, MEMFILE_REGION);
    touch(&h, MEMFILE_EVENTS);
    if (memfile_check(fd, MEMFILE_MEMORY, &file) && file.bytes != BYTES)
        __builtin_trap();
    return 0;
}
