/* SPDX-License-Identifier: Apache-2.0 */
#include "runner.h"

#include <stdlib.h>
#include <string.h>

static bool find(void *context, uint64_t address, uint64_t *ret_base, uint64_t *ret_end)
{
    struct runner *r = context;
    *ret_base = (uint64_t)(uintptr_t)r->memory;
    *ret_end = *ret_base + r->bytes;
    return address >= *ret_base && address < *ret_end;
}

bool runner_open(struct runner *r, const char *text, size_t bytes)
{
    *r = (struct runner){.bytes = bytes, .max_steps = 10000000};
    if (sim_parse(text, strlen(text), &r->module, &r->log) != 0)
        return false;
    r->memory = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
    memset(r->memory, 0, (bytes + 4095) & ~(size_t)4095);
    uint64_t at = bytes;
    for (uint32_t i = 0; i < r->module->nvars; i++) {
        struct sim_var *v = &r->module->vars[i];
        at = (at - v->size) & ~(uint64_t)255;
        v->address = (uint64_t)(uintptr_t)r->memory + at;
    }
    sim_module_link(r->module);
    for (uint32_t i = 0; i < r->module->nvars; i++) {
        struct sim_var *v = &r->module->vars[i];
        if (v->init)
            memcpy((void *)(uintptr_t)v->address, v->init, v->init_len);
    }
    sim_pool_start(2);
    return true;
}

int runner_run(struct runner *r, const char *kernel, unsigned grid, unsigned block, unsigned shared,
               const uint64_t *params, unsigned n)
{
    struct sim_func *f = sim_module_func(r->module, kernel);
    if (!f)
        return -1;
    uint64_t block_of_params[64] = {0};
    for (unsigned i = 0; i < n && i < f->nparams; i++)
        memcpy((uint8_t *)block_of_params + f->params[i].offset, &params[i], f->params[i].size);
    struct sim_memory memory = {.find = find, .context = r};
    struct sim_launch l = {.module = r->module,
                           .func = f,
                           .grid = {grid, 1, 1},
                           .block = {block, 1, 1},
                           .dynamic_shared = shared,
                           .params = (const uint8_t *)block_of_params,
                           .memory = &memory,
                           .max_steps = r->max_steps,
                           .sms = 4};
    r->fault = (struct sim_fault){0};
    return sim_run(&l, &r->fault);
}

void runner_close(struct runner *r)
{
    sim_module_free(r->module);
    free(r->memory);
}
