/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texture fetches and surface accesses, by the formulas of CUDA's programming guide: texels at
 * whole numbers, filters with 8 bits of fraction.
 */
#include <math.h>
#include <string.h>

#include "access.h"
#include "idm/cuda_abi.h"
#include "ops.h"
#include "texture.h"

/* How an instruction's coordinates lie: [layer,] x, y, z. */
struct shape {
    uint8_t sides;
    bool layered;
};

static float as_float(uint64_t bits)
{
    uint32_t b = (uint32_t)bits;
    float f;
    memcpy(&f, &b, sizeof(f));
    return f;
}

static uint32_t bits_of(float f)
{
    uint32_t b;
    memcpy(&b, &f, sizeof(b));
    return b;
}

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15), e = h >> 10 & 31, m = h & 1023;
    float f = e == 31 ? (m ? NAN : INFINITY)
              : e     ? ldexpf((float)(m + 1024), (int)e - 25)
                      : ldexpf((float)m, -24);
    return sign ? -f : f;
}

/* Where index I of N is; -1: nowhere. */
static int64_t place(int64_t i, int64_t n, enum sim_edge edge, bool normalized)
{
    if (i >= 0 && i < n)
        return i;
    if (edge == EDGE_BORDER)
        return -1;
    if (normalized && edge == EDGE_WRAP)
        return ((i % n) + n) % n;
    if (normalized && edge == EDGE_MIRROR) {
        int64_t k = ((i % (2 * n)) + 2 * n) % (2 * n);
        return k < n ? k : 2 * n - 1 - k;
    }
    return i < 0 ? 0 : n - 1;
}

/* The channel's bits at a texel; those that aren't there are zero. */
static uint32_t raw(const struct sim_texture *t, const int64_t at[3], unsigned channel)
{
    if (channel >= t->channels)
        return 0;
    const uint8_t *p = t->base + (uint64_t)at[2] * t->plane + (uint64_t)at[1] * t->row +
                       ((uint64_t)at[0] * t->channels + channel) * t->bytes;
    uint64_t v = sim_read(p, t->bytes);
    return (uint32_t)(t->texel == TEXEL_SIGNED ? sim_extend(v, t->bytes, 4) : v);
}

/* The same as a number. */
static float value(const struct sim_texture *t, const int64_t at[3], unsigned channel)
{
    uint32_t v = raw(t, at, channel);
    if (channel >= t->channels)
        return 0;
    if (t->texel == TEXEL_FLOAT)
        return t->bytes == 2 ? half_to_float((uint16_t)v) : as_float(v);
    if (t->texel == TEXEL_UNSIGNED)
        return t->bytes == 1 ? (float)v / 255.0f : (float)v / 65535.0f;
    float f = (float)(int32_t)v / (t->bytes == 1 ? 127.0f : 32767.0f);
    return f < -1 ? -1 : f;
}

/* AT, each side brought to where it is. False: the border. */
static bool settle(const struct sim_texture *t, unsigned sides, int64_t at[3])
{
    const uint32_t n[3] = {t->width, t->height, t->depth};
    for (unsigned k = 0; k < sides; k++) {
        bool beyond = t->flat && (at[k] < 0 || at[k] >= (int64_t)n[k]) && sides == 1;
        at[k] = beyond ? -1 : place(at[k], n[k], t->edge[k], t->normalized);
        if (at[k] < 0)
            return false;
    }
    return true;
}

static float filtered(const struct sim_texture *t, unsigned sides, const float x[3],
                      const int64_t base[3], unsigned channel)
{
    float sum = 0;
    for (unsigned corner = 0; corner < 1u << sides; corner++) {
        int64_t at[3] = {base[0], base[1], base[2]};
        float weight = 1;
        for (unsigned k = 0; k < sides; k++) {
            float lower = floorf(x[k] - 0.5f);
            float part = roundf((x[k] - 0.5f - lower) * 256.0f) / 256.0f;
            bool upper = corner >> k & 1;
            at[k] = (int64_t)lower + upper;
            weight *= upper ? part : 1 - part;
        }
        if (weight != 0)
            sum += weight * (settle(t, sides, at) ? value(t, at, channel) : t->border[channel]);
    }
    return sum;
}

/* One lane's fetch; X in texels. */
static void fetch(const struct sim_texture *t, const struct insn *in, unsigned sides,
                  const float x[3], const int64_t whole[3], uint32_t ret[4])
{
    bool number = in->type == T_F32;
    bool integers = t->texel != TEXEL_FLOAT && (t->as_integer || t->bytes == 4);
    int64_t at[3] = {whole[0], whole[1], whole[2]};
    bool inside = settle(t, sides, at);
    for (unsigned c = 0; c < 4; c++) {
        if (number && !integers && t->linear && in->type2 == T_F32)
            ret[c] = bits_of(filtered(t, sides, x, whole, c));
        else if (number && !integers)
            ret[c] = bits_of(inside ? value(t, at, c) : t->border[c]);
        else
            ret[c] = inside ? raw(t, at, c) : 0;
    }
}

/* NULL: the fault is noted. */
static const struct sim_texture *texture_of(struct warp *w, const struct insn *in, unsigned lane,
                                            uint64_t handle, bool surface)
{
    const struct sim_memory *m = w->b->run->l->memory;
    const struct sim_texture *t = m->texture ? m->texture(m->context, handle, surface) : NULL;
    if (!t)
        warp_fault(w, in, (int)lane, CUDA_ERROR_ILLEGAL_ADDRESS, "0x%llx is no %s object",
                   (unsigned long long)handle, surface ? "surface" : "texture");
    return t;
}

static const struct shape shapes[] = {{1, false}, {2, false}, {3, false}, {1, true}, {2, true}};

static int64_t to_whole(float x)
{
    return x != x ? 0 : x < -1e9f ? -1000000000 : x > 1e9f ? 1000000000 : (int64_t)floorf(x);
}

static void op_tex(struct warp *w, const struct insn *in, uint32_t mask)
{
    const struct shape s = shapes[in->mode];
    const uint64_t *handle = src_row(w, in, 0);
    const struct sim_texture *t = NULL;
    uint64_t last = 0;
    LANES(mask, {
        if (!t || handle[l] != last)
            t = texture_of(w, in, l, handle[l], false);
        last = handle[l];
        if (!t)
            return;
        const uint32_t n[3] = {t->width, t->height, t->depth};
        float x[3] = {0, 0, 0};
        int64_t whole[3] = {0, 0, 0};
        uint32_t got[4];
        for (unsigned k = 0; k < s.sides; k++) {
            uint64_t v = src_row(w, in, 1 + s.layered + k)[l];
            x[k] = as_float(v) * (t->normalized ? (float)n[k] : 1.0f);
            whole[k] = in->type2 == T_F32 ? to_whole(x[k]) : (int32_t)v;
        }
        if (s.layered) {
            int64_t layer = (int32_t)src_row(w, in, 1)[l];
            whole[2] = place(layer, t->depth, EDGE_CLAMP, false);
        }
        fetch(t, in, s.sides, x, whole, got);
        for (unsigned c = 0; c < in->ndst; c++)
            dst_row(w, in, c)[l] = got[c];
    });
}

static int shape_of(const struct build *b)
{
    return has(b, M_1D)    ? 0
           : has(b, M_2D)  ? 1
           : has(b, M_3D)  ? 2
           : has(b, M_A1D) ? 3
           : has(b, M_A2D) ? 4
                           : -1;
}

op_fn select_tex(struct build *b)
{
    struct insn *in = b->in;
    int shape = shape_of(b);
    if (shape < 0 || in->vec != 4 || in->ndst != 4 || type_size(in->type) != 4 ||
        (in->type2 != T_F32 && in->type2 != T_S32))
        return NULL;
    in->mode = (uint8_t)shape;
    /* Of several levels, the first: a level of detail is one operand more. */
    unsigned coordinates = shapes[shape].sides + shapes[shape].layered;
    return in->nsrc >= 1 + coordinates ? op_tex : NULL;
}

/* --- Surfaces: x counts bytes ------------------------------------------------------------- */

/* Where the element at one lane's coordinates is; NULL with *RET_FAULT unset: nowhere. */
static uint8_t *surface_at(struct warp *w, const struct insn *in, unsigned lane, bool *ret_fault)
{
    const struct shape s = shapes[in->mode >> 2];
    unsigned edge = in->mode & 3, size = type_size(in->type) * in->vec;
    const struct sim_texture *t = texture_of(w, in, lane, src_row(w, in, 0)[lane], true);
    *ret_fault = true;
    if (!t)
        return NULL;
    int64_t at[3] = {0, 0, 0};
    const int64_t n[3] = {(int64_t)t->width * t->bytes * t->channels, t->height, t->depth};
    for (unsigned k = 0; k < s.sides; k++)
        at[k] = (int32_t)src_row(w, in, 1 + s.layered + k)[lane];
    if (s.layered)
        at[2] = (int32_t)src_row(w, in, 1)[lane];
    bool inside = at[0] >= 0 && at[0] + size <= n[0];
    for (unsigned k = 1; k < 3; k++)
        inside = inside && at[k] >= 0 && at[k] < n[k];
    if ((at[0] & (int64_t)(size - 1)) || (!inside && edge == EDGE_WRAP) || size > n[0]) {
        warp_fault(w, in, (int)lane, CUDA_ERROR_ILLEGAL_ADDRESS,
                   "no %u bytes of the surface at %lld, %lld, %lld", size, (long long)at[0],
                   (long long)at[1], (long long)at[2]);
        return NULL;
    }
    *ret_fault = false;
    if (!inside && edge == EDGE_BORDER)
        return NULL;
    at[0] = at[0] < 0 ? 0 : at[0] + size > n[0] ? n[0] - size : at[0];
    for (unsigned k = 1; k < 3; k++)
        at[k] = place(at[k], n[k], EDGE_CLAMP, false);
    return t->base + (uint64_t)at[2] * t->plane + (uint64_t)at[1] * t->row + (uint64_t)at[0];
}

static void op_suld(struct warp *w, const struct insn *in, uint32_t mask)
{
    unsigned size = type_size(in->type);
    bool fault;
    LANES(mask, {
        const uint8_t *p = surface_at(w, in, l, &fault);
        if (fault)
            return;
        for (unsigned k = 0; k < in->vec; k++)
            dst_row(w, in, k)[l] = p ? sim_read(p + (size_t)k * size, size) : 0;
    });
}

static void op_sust(struct warp *w, const struct insn *in, uint32_t mask)
{
    unsigned size = type_size(in->type), first = in->nsrc - in->vec;
    bool fault;
    LANES(mask, {
        uint8_t *p = surface_at(w, in, l, &fault);
        if (fault)
            return;
        for (unsigned k = 0; p && k < in->vec; k++)
            sim_write(p + (size_t)k * size, src_row(w, in, first + k)[l], size);
    });
}

/* Shape and edge; false: not one that is here. */
static bool surface_form(struct build *b, unsigned values)
{
    struct insn *in = b->in;
    int shape = shape_of(b);
    unsigned edge = has(b, M_ZERO) ? EDGE_BORDER : has(b, M_CLAMP) ? EDGE_CLAMP : EDGE_WRAP;
    if (shape < 0 || !has(b, M_B) || in->type == T_NONE || in->type == T_PRED ||
        type_size(in->type) * in->vec > 16)
        return false;
    in->mode = (uint8_t)((unsigned)shape << 2 | edge);
    return in->nsrc >= 1u + shapes[shape].sides + shapes[shape].layered + values;
}

op_fn select_suld(struct build *b)
{
    return surface_form(b, 0) && b->in->ndst == b->in->vec ? op_suld : NULL;
}

op_fn select_sust(struct build *b)
{
    return surface_form(b, b->in->vec) ? op_sust : NULL;
}
