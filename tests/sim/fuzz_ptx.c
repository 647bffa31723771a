/* SPDX-License-Identifier: Apache-2.0 */
/* Any text may be handed to the parser; what it accepts may be run. */
#include <stdlib.h>
#include <string.h>

#include "exec.h"

static const struct sim_texture *no_texture(void *context, uint64_t handle, bool surface)
{
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Alignas(64) uint8_t memory[4096];

static bool find(void *context, uint64_t address, uint64_t *ret_base, uint64_t *ret_end)
{
    *ret_base = (uint64_t)(uintptr_t)memory;
    *ret_end = *ret_base + sizeof(memory);
    return address >= *ret_base && address < *ret_end;
}

/* The grid's side of one cluster. */
static uint32_t whole(const struct sim_func *f, unsigned dimension)
{
    return f->cluster[dimension] ? f->cluster[dimension] : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_module *m = NULL;
    struct sim_log log;
    if (sim_parse((const char *)data, size, &m, &log) != 0)
        return 0;
    for (uint32_t i = 0; i < m->nvars; i++)
        m->vars[i].address = (uint64_t)(uintptr_t)memory;
    sim_module_link(m);
    struct sim_memory all = {.find = find, .texture = no_texture};
    for (uint32_t i = 0; i < m->nfuncs && i < 4; i++) {
        struct sim_func *f = m->funcs[i];
        if (!f->entry || !f->defined || f->shared_bytes > SIM_MAX_SHARED - 1024)
            continue;
        uint64_t *params = calloc(1, f->param_bytes + 8u);
        for (uint32_t k = 0; params && k < f->param_bytes / 8; k++)
            params[k] = (uint64_t)(uintptr_t)memory;
        struct sim_launch l = {.module = m,
                               .func = f,
                               .grid = {whole(f, 0) * 2, whole(f, 1), whole(f, 2)},
                               .cluster = {f->cluster[0], f->cluster[1], f->cluster[2]},
                               .block = {40, 1, 1},
                               .dynamic_shared = 1024,
                               .params = (const uint8_t *)params,
                               .memory = &all,
                               .max_steps = 20000,
                               .sms = 1};
        struct sim_fault fault;
        if (params)
            sim_run(&l, &fault);
        free(params);
    }
    sim_module_free(m);
    return 0;
}
