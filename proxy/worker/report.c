/* SPDX-License-Identifier: Apache-2.0 */
/* What a zone may know of itself: its quota, its use, its own processes. All of
 * it is in the zone's page, so a report can be about no other zone. */
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "internal.h"

_Static_assert(sizeof(((struct page_slot *)0)->name) == IDM_PROCESS_NAME, "name");

CUresult worker_client_process(struct worker *w, const struct idm_client_process_in *in,
                               struct idm_client_process_out *out)
{
    uint64_t words[PAGE_NAME_WORDS] = {0};
    char *name = (char *)words;
    uint32_t n = in->w.name_len < IDM_PROCESS_NAME ? in->w.name_len : IDM_PROCESS_NAME - 1;
    /* Others' terminals show it. */
    for (uint32_t i = 0; i < n; i++) {
        char c = ((const char *)in->name)[i];
        name[i] = c >= 0x20 && c < 0x7f ? c : '?';
    }
    for (uint32_t i = 0; i < PAGE_NAME_WORDS; i++)
        atomic_store_explicit(&w->counters->name[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&w->counters->pid, in->w.pid, memory_order_release);
    return CUDA_SUCCESS;
}

/* A client without objects has no context: it has only looked. */
static bool read_client(struct page_slot *slot, struct idm_zone_client *ret)
{
    uint64_t words[PAGE_NAME_WORDS];
    uint32_t pid = atomic_load_explicit(&slot->pid, memory_order_acquire);
    if (!pid || !atomic_load_explicit(&slot->handles, memory_order_relaxed))
        return false;
    for (uint32_t i = 0; i < PAGE_NAME_WORDS; i++)
        words[i] = atomic_load_explicit(&slot->name[i], memory_order_relaxed);
    *ret = (struct idm_zone_client){
        .pid = pid,
        .memory_used = atomic_load_explicit(&slot->memory_used, memory_order_relaxed),
        .gpu_ns = atomic_load_explicit(&slot->gpu_ns, memory_order_relaxed),
        .launches = atomic_load_explicit(&slot->launches, memory_order_relaxed)};
    memcpy(ret->name, words, sizeof(ret->name));
    ret->name[sizeof(ret->name) - 1] = '\0';
    return true;
}

/* The version that NVIDIA's tools show is the kernel driver's; libcuda doesn't tell it. */
static void find_kernel_driver(struct worker *w)
{
    cleanup_close int fd = open("/sys/module/nvidia/version", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, w->kernel_driver, sizeof(w->kernel_driver) - 1);
    w->kernel_driver[n > 0 ? n : 0] = '\0';
    w->kernel_driver[strcspn(w->kernel_driver, "\n")] = '\0';
}

CUresult worker_zone_report(struct worker *w, const struct idm_zone_report_in *in,
                            struct idm_zone_report_out *out)
{
    struct zone_page *page = w->config->page;
    if (!w->kernel_driver[0])
        find_kernel_driver(w);
    out->w.memory_quota = atomic_load(&page->memory_quota);
    out->w.memory_used = page_memory_used(page);
    out->w.busy_permille = atomic_load_explicit(&page->busy_permille, memory_order_relaxed);
    out->driver = w->kernel_driver;
    out->w.driver_len = (uint32_t)strlen(w->kernel_driver);
    uint32_t room =
        idm_max_payload(w->out.size) - (uint32_t)sizeof(out->w) - idm_pad8(out->w.driver_len);
    uint32_t n = 0;
    for (uint32_t i = 0; i < PAGE_SLOTS && (n + 1) * sizeof(w->clients[0]) <= room; i++)
        n += read_client(&page->slots[i], &w->clients[n]);
    out->clients = w->clients;
    out->w.clients_len = n * (uint32_t)sizeof(w->clients[0]);
    return CUDA_SUCCESS;
}
