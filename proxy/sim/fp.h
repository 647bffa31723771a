/* SPDX-License-Identifier: Apache-2.0 */
/* Bits and values of the floating point types; half types by way of float. */
#ifndef SIM_FP_H
#define SIM_FP_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline float f32_value(uint64_t bits)
{
    uint32_t b = (uint32_t)bits;
    float f;
    memcpy(&f, &b, sizeof(f));
    return f;
}

static inline uint32_t f32_bits(float f)
{
    uint32_t b;
    memcpy(&b, &f, sizeof(b));
    return b;
}

static inline double f64_value(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof(d));
    return d;
}

static inline uint64_t f64_bits(double d)
{
    uint64_t b;
    memcpy(&b, &d, sizeof(b));
    return b;
}

enum fp_round { FP_RN, FP_RZ, FP_RM, FP_RP };

/* The significand SIG, of which the low DROP bits don't fit, rounded. */
static inline uint64_t fp_round_bits(uint64_t sig, unsigned drop, bool negative, enum fp_round how)
{
    if (!drop)
        return sig;
    if (drop > 62)
        drop = 62;
    uint64_t kept = sig >> drop, rest = sig & ((1ull << drop) - 1), half = 1ull << (drop - 1);
    bool up = how == FP_RN   ? rest > half || (rest == half && (kept & 1))
              : how == FP_RZ ? false
              : how == FP_RM ? negative && rest
                             : !negative && rest;
    return kept + up;
}

/* |D|, which is finite, in EXP exponent and MAN fraction bits, as if the exponent had no end. */
static inline uint64_t fp_magnitude(double d, unsigned exp_bits, unsigned man_bits,
                                    enum fp_round how)
{
    uint64_t b = f64_bits(d);
    int e = (int)(b >> 52 & 0x7ff);
    uint64_t sig = b & ((1ull << 52) - 1);
    if (!e && !sig)
        return 0;
    int bias = (1 << (exp_bits - 1)) - 1;
    int to = e - 1023 + bias;
    sig |= e ? 1ull << 52 : 0;
    unsigned drop = 52 - man_bits;
    if (to <= 0) {
        drop += (unsigned)(1 - to);
        to = 0;
    } else {
        to--; /* the hidden bit carries into the exponent below */
    }
    return fp_round_bits(sig, drop, b >> 63, how) + ((uint64_t)(unsigned)to << man_bits);
}

/* A double to a small format of EXP exponent and MAN fraction bits. */
static inline uint16_t fp_small(double d, unsigned exp_bits, unsigned man_bits, enum fp_round how)
{
    bool negative = f64_bits(d) >> 63;
    uint16_t sign = (uint16_t)(negative ? 1u << (exp_bits + man_bits) : 0);
    uint16_t inf = (uint16_t)(((1u << exp_bits) - 1) << man_bits);
    if (d != d)
        return (uint16_t)(inf | ((1u << man_bits) - 1));
    if (isinf(d))
        return (uint16_t)(sign | inf);
    uint64_t v = fp_magnitude(d, exp_bits, man_bits, how);
    if (v >= inf) {
        bool stay = how == FP_RZ || (how == FP_RM && !negative) || (how == FP_RP && negative);
        v = stay ? inf - 1u : inf;
    }
    return (uint16_t)(sign | v);
}

/* The exponent moves to a float's place and is worth 2^(127 - 15) less there. */
static inline float f16_value(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7fff) << 13;
    float f = (h & 0x7c00) == 0x7c00 ? f32_value(0x70000000u | rest) : f32_value(rest) * 0x1p112f;
    return f32_value(sign | f32_bits(f));
}

/* To nearest: a sum of integers for what is a normal number, or becomes infinite, in a half. */
static inline uint16_t f16_nearest(double d)
{
    uint64_t b = f64_bits(d), a = b & ~(1ull << 63);
    if (a - (1009ull << 52) >= 30ull << 52)
        return fp_small(d, 5, 10, FP_RN);
    a += ((1ull << 41) - 1) + (a >> 42 & 1);
    return (uint16_t)(b >> 63 << 15 | (a - (1008ull << 52)) >> 42);
}

/* Float holds more than twice a half's bits: rounding once more is harmless. */
static inline uint16_t f16_bits(float f)
{
    return f16_nearest((double)f);
}

static inline float bf16_value(uint16_t h)
{
    return f32_value((uint32_t)h << 16);
}

static inline uint16_t bf16_bits(float f)
{
    return fp_small((double)f, 8, 7, FP_RN);
}

/* Eight bits: e4m3 has no infinity, and one NaN of each sign; e5m2 is a half's upper byte. */
static inline float e4m3_value(uint8_t v)
{
    uint32_t sign = (uint32_t)(v & 0x80) << 24, rest = (uint32_t)(v & 0x7f) << 20;
    float f = (v & 0x7f) == 0x7f ? f32_value(0x7fffffffu) : f32_value(rest) * 0x1p120f;
    return f32_value(sign | f32_bits(f));
}

static inline float e5m2_value(uint8_t v)
{
    return f16_value((uint16_t)(v << 8));
}

static inline float f32_flush(float f)
{
    return fpclassify(f) == FP_SUBNORMAL ? copysignf(0.0f, f) : f;
}

#endif
