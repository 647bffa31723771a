/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mbarrier (PTX: Parallel Synchronization, mbarrier): a word in shared memory that
 * counts arrivals and bytes, phase after phase. The word is the kernel's to read
 * and write as it likes, so that all of its values are possible here. A block runs
 * on one thread at a time: the word needs no atomic access.
 */
#include "access.h"
#include "idm/cuda_abi.h"
#include "ops.h"

#define COUNT_BITS 20u
#define COUNT_MAX  ((1u << COUNT_BITS) - 1)
#define TX_BIAS    (1 << 21) /* the bytes still to come may be fewer than none for a while */

struct mbarrier {
    uint32_t expected, pending;
    int32_t tx;
    bool phase;
};

static struct mbarrier unpack(uint64_t word)
{
    return (struct mbarrier){.expected = word & COUNT_MAX,
                             .pending = word >> COUNT_BITS & COUNT_MAX,
                             .phase = word >> (2 * COUNT_BITS) & 1,
                             .tx = (int32_t)(word >> (2 * COUNT_BITS + 1) & 0x3fffff) - TX_BIAS};
}

static uint64_t pack(struct mbarrier m)
{
    return (uint64_t)m.expected | (uint64_t)m.pending << COUNT_BITS |
           (uint64_t)m.phase << (2 * COUNT_BITS) |
           (uint64_t)((uint32_t)(m.tx + TX_BIAS) & 0x3fffff) << (2 * COUNT_BITS + 1);
}

static uint8_t *find(struct warp *w, const struct insn *in, unsigned lane, uint64_t address)
{
    uint64_t a = sim_lane_address(in, address);
    if (in->space == SPACE_GENERIC &&
        a >> SIM_WINDOW_SHIFT != SIM_SHARED_BASE >> SIM_WINDOW_SHIFT) {
        warp_fault(w, in, (int)lane, CUDA_ERROR_ILLEGAL_ADDRESS,
                   "a barrier at 0x%llx, which is no shared memory", (unsigned long long)a);
        return NULL;
    }
    return sim_address(w, in, lane, in->space, a, 8, true);
}

/* COUNT arrivals; false: there aren't as many left in this phase. */
static bool arrive(struct mbarrier *m, uint32_t count)
{
    if (count > m->pending)
        return false;
    m->pending -= count;
    if (!m->pending && !m->tx) {
        m->phase = !m->phase;
        m->pending = m->expected;
    }
    return true;
}

enum { INIT, INVAL, ARRIVE, DROP, EXPECT, ARRIVE_EXPECT, COMPLETE, TEST, TEST_PARITY, COPIES };

static uint32_t operand_or(struct warp *w, const struct insn *in, unsigned i, unsigned lane,
                           uint32_t otherwise)
{
    return i < in->nsrc ? (uint32_t)src_row(w, in, i)[lane] : otherwise;
}

/* One lane's turn with M; false: it can't be. */
static bool change(struct mbarrier *m, unsigned mode, uint32_t value)
{
    switch (mode) {
    case INIT:
        *m = (struct mbarrier){.expected = value, .pending = value};
        return value && value <= COUNT_MAX;
    case INVAL:
        *m = (struct mbarrier){.tx = -TX_BIAS};
        return true;
    case DROP:
        if (value > m->expected)
            return false;
        m->expected -= value;
        return arrive(m, value);
    case EXPECT:
    case ARRIVE_EXPECT:
        if (value >= TX_BIAS / 2 || m->tx >= TX_BIAS / 2)
            return false;
        m->tx += (int32_t)value;
        return mode == EXPECT || arrive(m, 1);
    case COMPLETE:
        if (value >= TX_BIAS / 2 || m->tx <= -TX_BIAS / 2)
            return false;
        m->tx -= (int32_t)value;
        return arrive(m, 0);
    case COPIES:
        return true;
    default:
        return arrive(m, value);
    }
}

static void op_change(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *address = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, {
        uint8_t *at = find(w, in, l, address[l]);
        if (!at)
            return;
        uint64_t before = sim_read(at, 8);
        struct mbarrier m = unpack(before);
        if (!change(&m, in->mode, operand_or(w, in, 1, l, 1))) {
            warp_fault(w, in, (int)l, CUDA_ERROR_ILLEGAL_INSTRUCTION,
                       "a barrier of %u threads, %u of them and %d bytes still to come", m.expected,
                       m.pending, m.tx);
            return;
        }
        sim_write(at, pack(m), 8);
        d[l] = before;
    });
}

/* A phase's end is seen in that the next one has begun. */
static void op_test(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *address = src_row(w, in, 0), *state = src_row(w, in, 1);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, {
        const uint8_t *at = find(w, in, l, address[l]);
        if (!at)
            return;
        bool waited = in->mode == TEST ? unpack(state[l]).phase : state[l] & 1;
        d[l] = unpack(sim_read(at, 8)).phase != waited;
    });
}

static void op_pending_count(struct warp *w, const struct insn *in, uint32_t mask)
{
    const uint64_t *state = src_row(w, in, 0);
    uint64_t *d = dst_row(w, in, 0);
    LANES(mask, { d[l] = unpack(state[l]).pending; });
}

/* cp.async.mbarrier.arrive: all copies have ended already. */
op_fn select_copies_arrive(struct build *b)
{
    b->in->mode = has(b, M_NOINC) ? ARRIVE : COPIES;
    return b->in->nsrc == 1 ? op_change : NULL;
}

op_fn select_mbarrier(struct build *b)
{
    struct insn *in = b->in;
    if (has(b, M_PENDING_COUNT))
        return in->nsrc == 1 && in->ndst == 1 && !b->addresses ? op_pending_count : NULL;
    if (type_size(in->type) != 8 || b->addresses != 1 || in->ndst > 1 ||
        (in->space != SPACE_GENERIC && in->space != SPACE_SHARED))
        return NULL;
    if (has(b, M_TEST_WAIT) || has(b, M_TRY_WAIT)) {
        in->mode = has(b, M_PARITY) ? TEST_PARITY : TEST;
        return in->ndst == 1 && in->nsrc >= 2 && in->nsrc <= 3 ? op_test : NULL;
    }
    in->mode = has(b, M_INIT)          ? INIT
               : has(b, M_INVAL)       ? INVAL
               : has(b, M_ARRIVE_DROP) ? DROP
               : has(b, M_ARRIVE)      ? (has(b, M_EXPECT_TX) ? ARRIVE_EXPECT : ARRIVE)
               : has(b, M_EXPECT_TX)   ? EXPECT
                                       : COMPLETE;
    bool value =
        in->mode == INIT || in->mode == EXPECT || in->mode == ARRIVE_EXPECT || in->mode == COMPLETE;
    if ((in->mode == COMPLETE && !has(b, M_COMPLETE_TX)) || (value && in->nsrc != 2))
        return NULL;
    return in->nsrc <= 2 && (in->mode == ARRIVE || in->mode == DROP || in->nsrc == 1 || value)
               ? op_change
               : NULL;
}
