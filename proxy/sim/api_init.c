/* SPDX-License-Identifier: Apache-2.0 */
/* cuInit: the environment says what GPU this is. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "stream.h"

struct sim_driver sim = {
    .devices = 1, .capability = 90, .memory = 4ull << 30, .name = "Simulated GPU"};

/* NAME's number with an optional suffix, within [LOW, HIGH]. Unset: *RET stays. */
static bool number(const char *name, bool suffix, uint64_t low, uint64_t high, uint64_t *ret)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return true;
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    bool good = errno == 0 && end != text && text[0] >= '0' && text[0] <= '9';
    unsigned shift = 0;
    if (good && suffix && *end) {
        shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        end += shift != 0;
    }
    good =
        good && *end == '\0' && n <= UINT64_MAX >> shift && n << shift >= low && n << shift <= high;
    if (good)
        *ret = n << shift;
    else
        fprintf(stderr, "simulated GPU: %s=\"%.60s\": expected a number from %llu to %llu%s\n",
                name, text, (unsigned long long)low, (unsigned long long)high,
                suffix ? " (suffixes K, M, G)" : "");
    return good;
}

static bool read_environment(void)
{
    uint64_t devices = sim.devices;
    uint64_t capability = sim.capability;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t cores = online > 8 ? 8 : online < 1 ? 1 : (uint64_t)online;
    if (!number("GI_SIM_DEVICES", false, 1, SIM_MAX_DEVICES, &devices) ||
        !number("GI_SIM_MEMORY", true, 1u << 20, 1ull << 40, &sim.memory) ||
        !number("GI_SIM_CORES", false, 1, 256, &cores) ||
        !number("GI_SIM_CAPABILITY", false, 75, 199, &capability) ||
        !number("GI_SIM_MAX_STEPS", false, 0, UINT64_MAX >> 1, &sim.max_steps))
        return false;
    sim.devices = (unsigned)devices;
    sim.capability = (unsigned)capability;
    sim.cores = (unsigned)cores;
    const char *blocking = getenv("CUDA_LAUNCH_BLOCKING");
    sim.blocking = blocking && strcmp(blocking, "1") == 0;
    const char *name = getenv("GI_SIM_NAME");
    if (!name || !*name)
        return true;
    if (strlen(name) >= sizeof(sim.name)) {
        fprintf(stderr, "simulated GPU: GI_SIM_NAME: more than %zu characters\n",
                sizeof(sim.name) - 1);
        return false;
    }
    snprintf(sim.name, sizeof(sim.name), "%s", name);
    return true;
}

static CUresult start(void)
{
    if (!read_environment())
        return CUDA_ERROR_INVALID_VALUE;
    visible_read(getenv("CUDA_VISIBLE_DEVICES"));
    if (!sim.devices)
        return CUDA_ERROR_NO_DEVICE;
    TRY(thread_init());
    TRY((CUresult)mem_init(sim.devices, sim.memory));
    /* Threads of ours take no signals: they are the program's. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = sim_pool_start(sim.cores);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc < 0 ? CUDA_ERROR_OPERATING_SYSTEM : sched_start();
}

CUresult cuInit(unsigned int flags)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool tried;
    static CUresult result;
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    if (!tried) {
        tried = true;
        result = start();
        sim.ready = result == CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result == CUDA_SUCCESS ? sim_enter() : result;
}

CUresult cuDriverGetVersion(int *version)
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}
