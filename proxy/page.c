/* SPDX-License-Identifier: Apache-2.0 */
#include "page.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"

/* Two workers that race for the last bytes may both step back; trying again a
 * few times makes a refusal mean that there really is no room. */
#define RESERVE_TRIES 16

int page_create(const char *name, uint64_t memory_quota, uint32_t compute_weight, int *ret_fd,
                struct zone_page **ret_page, struct gi_error *err)
{
    cleanup_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return gi_fail_errno(err, errno, "memfd for %s", name);
    if (ftruncate(fd, sizeof(struct zone_page)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return gi_fail_errno(err, errno, "size of %s", name);
    struct zone_page *page = NULL;
    int rc = page_map(fd, &page, err);
    if (!page)
        return rc;
    atomic_store(&page->memory_quota, memory_quota);
    atomic_store(&page->compute_weight, compute_weight);
    *ret_fd = TAKE_FD(fd);
    *ret_page = page;
    return 0;
}

int page_map(int fd, struct zone_page **ret_page, struct gi_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return gi_fail_errno(err, errno, "zone page");
    if (st.st_size != sizeof(struct zone_page))
        return gi_fail(err, GI_INVALID_ARGUMENT, "zone page of %lld bytes", (long long)st.st_size);
    void *p = mmap(NULL, sizeof(struct zone_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return gi_fail_errno(err, errno, "map zone page");
    *ret_page = p;
    return 0;
}

void page_unmap(struct zone_page *page)
{
    if (page)
        munmap(page, sizeof(*page));
}

uint64_t page_memory_used(struct zone_page *page)
{
    uint64_t sum = atomic_load(&page->shared_memory);
    for (uint32_t i = 0; i < PAGE_SLOTS; i++)
        sum = page_add(sum, atomic_load(&page->slots[i].memory_used));
    return sum;
}

bool page_reserve(struct zone_page *page, uint32_t slot, uint64_t bytes)
{
    _Atomic uint64_t *mine = &page->slots[slot].memory_used;
    uint64_t quota = atomic_load(&page->memory_quota);
    if (bytes > quota)
        return false;
    for (int i = 0; i < RESERVE_TRIES; i++) {
        /* No addition that can't succeed: it would make others step back. */
        if (page_memory_used(page) <= quota - bytes) {
            atomic_fetch_add(mine, bytes);
            if (page_memory_used(page) <= quota)
                return true;
            atomic_fetch_sub(mine, bytes);
        }
        sched_yield();
    }
    return false;
}

void page_release(struct zone_page *page, uint32_t slot, uint64_t bytes)
{
    _Atomic uint64_t *mine = &page->slots[slot].memory_used;
    uint64_t used = atomic_load(mine);
    /* More released than reserved is a bug that must not wrap around to a huge
     * figure. */
    while (!atomic_compare_exchange_weak(mine, &used, bytes > used ? 0 : used - bytes))
        ;
}

void page_share(struct zone_page *page, uint64_t bytes)
{
    atomic_store(&page->shared_memory, bytes);
}

void page_read(struct zone_page *page, uint32_t slot, struct page_counters *ret_counters)
{
#define READ(name)                                                                                 \
    ret_counters->name = atomic_load_explicit(&page->slots[slot].name, memory_order_relaxed);
    PAGE_COUNTERS(READ)
#undef READ
}

void page_clear(struct zone_page *page, uint32_t slot)
{
    struct page_slot *s = &page->slots[slot];
    atomic_store(&s->memory_used, 0);
    atomic_store(&s->handles, 0);
    atomic_store(&s->share, 0);
    atomic_store(&s->pid, 0);
#define CLEAR(name) atomic_store(&s->name, 0);
    PAGE_COUNTERS(CLEAR)
#undef CLEAR
}
