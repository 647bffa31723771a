/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles of objects: chosen by the client, so that making one needs no round
 * trip, and the value that programs see. A handle says what it is, whose, which
 * place of the table and the how-manieth use of that place:
 *
 *   63..58 kind   57..42 owner tag   41..20 generation   19..0 index
 *
 * The worker believes none of it: its table decides. 0, 1 and 2 are no handles
 * but NULL, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD.
 */
#ifndef GI_IDM_HANDLE_H
#define GI_IDM_HANDLE_H

#include <stdint.h>

enum idm_kind {
    IDM_KIND_context = 1,
    IDM_KIND_module = 2,
    IDM_KIND_function = 3,
    IDM_KIND_stream = 4,
    IDM_KIND_event = 5,
    IDM_KIND_library = 6,
    IDM_KIND_kernel = 7,
    IDM_KIND_memory = 16, /* cuMemCreate's */
    IDM_KIND_array = 17,
    IDM_KIND_mipmap = 18,
    IDM_KIND_texture = 19,
    IDM_KIND_surface = 20,
    IDM_KIND_graph = 21, /* an executable one */
    IDM_KIND_link = 24,
    IDM_KIND_code = 63, /* in descriptions: a function or a kernel */
};

#define IDM_MAX_HANDLES    (1u << 20)
#define IDM_MAX_GENERATION ((1u << 22) - 1)

static inline uint64_t idm_handle(enum idm_kind kind, uint32_t tag, uint32_t generation,
                                  uint32_t index)
{
    return (uint64_t)kind << 58 | (uint64_t)(tag & 0xffffu) << 42 |
           (uint64_t)(generation & IDM_MAX_GENERATION) << 20 | (index & (IDM_MAX_HANDLES - 1));
}

static inline unsigned idm_handle_kind(uint64_t h)
{
    return (unsigned)(h >> 58);
}

static inline uint32_t idm_handle_tag(uint64_t h)
{
    return (uint32_t)(h >> 42) & 0xffffu;
}

static inline uint32_t idm_handle_generation(uint64_t h)
{
    return (uint32_t)(h >> 20) & IDM_MAX_GENERATION;
}

static inline uint32_t idm_handle_index(uint64_t h)
{
    return (uint32_t)h & (IDM_MAX_HANDLES - 1);
}

/* What KIND means for the handle H. */
static inline enum idm_kind idm_kind_for(enum idm_kind kind, uint64_t h)
{
    if (kind != IDM_KIND_code)
        return kind;
    return idm_handle_kind(h) == IDM_KIND_kernel ? IDM_KIND_kernel : IDM_KIND_function;
}

#endif
