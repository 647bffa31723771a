/* SPDX-License-Identifier: Apache-2.0 */
#include "memfile.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "driver.h"

#define MAGIC   0x6d654d6d69536967ull /* "giSimMem" */
#define VERSION 1u
#define SEALS   (F_SEAL_SHRINK | F_SEAL_GROW)

static uint64_t process;

static void choose(void)
{
    if (getrandom(&process, sizeof(process), 0) != sizeof(process))
        process = 0;
}

uint64_t memfile_process(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return process;
}

/* The last page makes the file as long as it is to be. */
static bool write_end(int fd, const struct memfile *file)
{
    uint8_t page[MEMFILE_PAGE] = {0};
    memcpy(page, file, sizeof(*file));
    return lseek(fd, (off_t)file->bytes, SEEK_SET) == (off_t)file->bytes &&
           write(fd, page, sizeof(page)) == sizeof(page);
}

int memfile_new(enum memfile_kind kind, int device, uint64_t bytes)
{
    const struct memfile file = {.magic = MAGIC,
                                 .version = VERSION,
                                 .kind = kind,
                                 .device = device,
                                 .bytes = bytes,
                                 .process = memfile_process()};
    if (!file.process || !bytes || bytes % MEMFILE_PAGE || bytes > MEMFILE_MAX_BYTES)
        return -1;
    cleanup_close int fd = memfd_create("simulated-gpu", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || !write_end(fd, &file) || fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0)
        return -1;
    return TAKE_FD(fd);
}

bool memfile_check(int fd, enum memfile_kind kind, struct memfile *ret_file)
{
    struct statfs fs;
    struct stat st;
    struct memfile f;
    int seals = fcntl(fd, F_GET_SEALS);
    /* Huge pages have seals, too, and may be missing when they are touched. */
    if (seals < 0 || (seals & SEALS) != SEALS || fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC ||
        fstat(fd, &st) < 0)
        return false;
    uint64_t size = (uint64_t)st.st_size;
    if (st.st_size <= 0 || size % MEMFILE_PAGE || size <= MEMFILE_PAGE ||
        size > MEMFILE_MAX_BYTES + MEMFILE_PAGE)
        return false;
    if (pread(fd, &f, sizeof(f), (off_t)(size - MEMFILE_PAGE)) != sizeof(f))
        return false;
    if (f.magic != MAGIC || f.version != VERSION || f.kind != (uint32_t)kind ||
        f.bytes != size - MEMFILE_PAGE || f.zero || !f.process || f.device < 0 ||
        f.device >= SIM_MAX_DEVICES)
        return false;
    *ret_file = f;
    return true;
}

void *memfile_map(int fd, uint64_t offset, uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    return p == MAP_FAILED ? NULL : p;
}
