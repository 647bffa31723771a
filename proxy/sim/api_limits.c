/* SPDX-License-Identifier: Apache-2.0 */
/* Limits and preferences of contexts and functions, which change nothing here, and how many
 * blocks a multiprocessor would hold. */
#include "stream.h"

#define SMS_THREADS  2048
#define SMS_BLOCKS   32
#define SMS_SHARED   (228u << 10)
#define BLOCK_SHARED 1024u /* taken by each block besides */

/* Of contexts for graphics, which these are not; they can only be asked for. */
#define LIMIT_SHMEM_SIZE  7
#define LIMIT_CIG_ENABLED 8

CUresult cuCtxGetLimit(size_t *value, CUlimit limit)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    if ((int)limit < 0 || (int)limit >= SIM_LIMITS || !c->limits[limit])
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    *value = c->limits[limit] - 1;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if ((int)limit < 0 || (int)limit >= SIM_LIMITS || !c->limits[limit])
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (value == SIZE_MAX || limit == LIMIT_SHMEM_SIZE || limit == LIMIT_CIG_ENABLED)
        return CUDA_ERROR_INVALID_VALUE;
    c->limits[limit] = value + 1;
    return CUDA_SUCCESS;
}

void limits_init(struct CUctx_st *c)
{
    c->limits[CU_LIMIT_STACK_SIZE] = 1024 + 1;
    c->limits[CU_LIMIT_PRINTF_FIFO_SIZE] = (1 << 20) + 1;
    c->limits[CU_LIMIT_MALLOC_HEAP_SIZE] = (8 << 20) + 1;
    c->limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64 + 1;
    c->limits[CU_LIMIT_PERSISTING_L2_CACHE_SIZE] = 0 + 1;
    c->limits[LIMIT_SHMEM_SIZE] = SIM_MAX_SHARED + 1;
    c->limits[LIMIT_CIG_ENABLED] = 0 + 1;
}

static CUresult check_cache(CUfunc_cache config)
{
    return (int)config >= 0 && config <= CU_FUNC_CACHE_PREFER_EQUAL ? CUDA_SUCCESS
                                                                    : CUDA_ERROR_INVALID_VALUE;
}

static CUresult check_banks(CUsharedconfig config)
{
    return (int)config >= 0 && config <= CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *config)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    *config = c->cache;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    TRY(check_cache(config));
    c->cache = config;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetSharedMemConfig(CUsharedconfig *config)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    *config = CU_SHARED_MEM_CONFIG_DEFAULT_BANK_SIZE;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetSharedMemConfig(CUsharedconfig config)
{
    struct CUctx_st *c;
    TRY(sim_context(&c));
    return check_banks(config);
}

CUresult cuFuncSetCacheConfig(CUfunction fn, CUfunc_cache config)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    TRY(function_find(c, fn, &f));
    return check_cache(config);
}

CUresult cuFuncSetSharedMemConfig(CUfunction fn, CUsharedconfig config)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    TRY(function_find(c, fn, &f));
    return check_banks(config);
}

CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev)
{
    TRY(sim_enter());
    PUT_LATER(CUkern_st) *k = object_find(OBJECT_KERNEL, kernel);
    if (!k)
        return CUDA_ERROR_INVALID_HANDLE;
    if (dev < 0 || dev >= (int)sim.devices)
        return CUDA_ERROR_INVALID_DEVICE;
    return check_cache(config);
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
    TRY(sim_enter());
    if (!mode)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = CU_MODULE_LAZY_LOADING; /* libraries, where they are used */
    return CUDA_SUCCESS;
}

/* --- Occupancy ------------------------------------------------------------------ */

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* By threads and registers, which are given to whole warps. */
static unsigned blocks_of(const struct sim_func *code, unsigned threads)
{
    unsigned whole = (threads + SIM_WARP - 1) / SIM_WARP * SIM_WARP;
    unsigned registers = function_registers(code);
    unsigned blocks = least(SMS_BLOCKS, SMS_THREADS / whole);
    return least(blocks, SIM_REGISTERS / (registers * whole));
}

unsigned function_blocks(const struct sim_func *code, unsigned threads, size_t dynamic)
{
    size_t shared = static_shared(code) + dynamic;
    if (threads > (unsigned)function_max_threads(code) || dynamic > SIM_MAX_SHARED ||
        shared > SIM_MAX_SHARED)
        return 0;
    return least(blocks_of(code, threads), SMS_SHARED / ((unsigned)shared + BLOCK_SHARED));
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction fn,
                                                              int threads, size_t dynamic,
                                                              unsigned int flags)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!blocks || threads <= 0 || flags > 1)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(function_find(c, fn, &f));
    *blocks = (int)function_blocks(f->code, (unsigned)threads, dynamic);
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction fn, int threads,
                                                     size_t dynamic)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, fn, threads, dynamic, 0);
}

CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction fn, int blocks,
                                                 int threads)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!bytes || blocks <= 0 || threads <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    TRY(function_find(c, fn, &f));
    if (threads > function_max_threads(f->code) ||
        (unsigned)blocks > blocks_of(f->code, (unsigned)threads))
        return CUDA_ERROR_INVALID_VALUE;
    size_t each = SMS_SHARED / (unsigned)blocks;
    size_t taken = static_shared(f->code) + (size_t)BLOCK_SHARED;
    size_t most = SIM_MAX_SHARED - static_shared(f->code);
    size_t left = each > taken ? each - taken : 0;
    *bytes = left < most ? left : most;
    return CUDA_SUCCESS;
}

/* How many of CONFIG's clusters are there at once, RET_ACTIVE, or how many blocks one may have. */
static CUresult clusters(CUfunction fn, const CUlaunchConfig *config, int *ret_active,
                         int *ret_size)
{
    struct CUctx_st *c;
    PUT_LATER(CUfunc_st) *f = NULL;
    TRY(sim_context(&c));
    if (!config || (config->numAttrs && !config->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    TRY(function_find(c, fn, &f));
    if (sim.capability < 90)
        return CUDA_ERROR_NOT_SUPPORTED;
    struct launch_shape s = {.grid = {config->gridDimX, config->gridDimY, config->gridDimZ}};
    uint32_t cluster[3];
    for (unsigned i = 0; i < config->numAttrs; i++)
        TRY(launch_attribute(&config->attrs[i], &s));
    unsigned threads = config->blockDimX * config->blockDimY * config->blockDimZ;
    unsigned blocks = function_blocks(f->code, threads ? threads : 1, config->sharedMemBytes);
    if (ret_size) {
        *ret_size = blocks ? (int)function_max_cluster(f) : 0;
        return CUDA_SUCCESS;
    }
    TRY(launch_cluster_of(f, &s, cluster));
    unsigned size = 1;
    for (unsigned d = 0; d < 3; d++)
        size *= cluster[d] ? cluster[d] : 1;
    *ret_active = (int)(blocks * SIM_SMS / size);
    return CUDA_SUCCESS;
}

CUresult cuOccupancyMaxActiveClusters(int *n, CUfunction fn, const CUlaunchConfig *config)
{
    return n ? clusters(fn, config, n, NULL) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuOccupancyMaxPotentialClusterSize(int *size, CUfunction fn, const CUlaunchConfig *config)
{
    return size ? clusters(fn, config, NULL, size) : CUDA_ERROR_INVALID_VALUE;
}
