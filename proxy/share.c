/* SPDX-License-Identifier: Apache-2.0 */
#include "share.h"

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "broker.h"

/* For what is in flight when gates close; then the next zone's turn comes beside it. */
#define DRAIN_NS (50ll * 1000 * 1000)
/* What a cap allows in one go, and what it takes to go on after it was used up: parts
 * of this time. */
#define CAP_BURST_NS (40ll * 1000 * 1000)
#define CAP_LOOK_NS  (2ll * 1000 * 1000)
#define OWED_MAX_NS  (50ull * 1000 * 1000)

static bool is_capped(const struct zone *z)
{
    return z->quota.compute_cap && z->quota.compute_cap < 100;
}

static int64_t burst(const struct zone *z)
{
    return CAP_BURST_NS * (int64_t)z->quota.compute_cap / 100;
}

static uint64_t gpu_ns(const struct zone *z)
{
    uint64_t sum = z->totals.gpu_ns;
    for (const struct client *c = z->clients; c; c = c->next)
        sum = page_add(sum,
                       atomic_load_explicit(&z->page->slots[c->slot].gpu_ns, memory_order_relaxed));
    return sum;
}

static uint64_t calls(const struct zone *z)
{
    uint64_t sum = z->totals.calls;
    for (const struct client *c = z->clients; c; c = c->next)
        sum = page_add(sum,
                       atomic_load_explicit(&z->page->slots[c->slot].calls, memory_order_seq_cst));
    return sum;
}

static uint32_t words(const struct zone *z)
{
    uint32_t bits = 0;
    for (const struct client *c = z->clients; c; c = c->next)
        bits |= atomic_load_explicit(&z->page->slots[c->slot].share, memory_order_seq_cst);
    return bits;
}

static void set_gate(struct zone *z, uint32_t gate)
{
    struct zone_share *s = &z->share;
    uint32_t before = s->gate;
    if (before == gate)
        return;
    s->gate = gate;
    atomic_store_explicit(&z->page->gate, gate, memory_order_seq_cst);
    if (before == PAGE_GATE_CLOSED)
        syscall(SYS_futex, &z->page->gate, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* What the zone has used since the last look. While it holds the GPU alone that is all
 * the time; else what its workers counted, which come in lumps, several at once. */
static uint64_t charge(const struct broker *b, struct zone *z, int64_t now)
{
    struct zone_share *s = &z->share;
    uint64_t wall = (uint64_t)(now - s->looked_ns);
    uint64_t gpu = gpu_ns(z);
    uint64_t used = gpu > s->gpu_ns ? gpu - s->gpu_ns : 0;
    s->gpu_ns = gpu;
    s->looked_ns = now;
    if (z == b->share.holder) {
        s->owed_ns = 0;
        used = wall;
    } else {
        s->owed_ns = used > OWED_MAX_NS - s->owed_ns ? OWED_MAX_NS : s->owed_ns + used;
        used = s->owed_ns < wall ? s->owed_ns : wall;
        s->owed_ns -= used;
    }
    if (is_capped(z)) {
        int64_t budget = s->budget_ns + (int64_t)(wall / 100 * z->quota.compute_cap);
        s->budget_ns = (budget > burst(z) ? burst(z) : budget) - (int64_t)used;
        s->broke = s->budget_ns <= (s->broke ? burst(z) / 2 : 0);
    }
    return used;
}

static void look(struct broker *b, struct zone *z, int64_t now)
{
    struct zone_share *s = &z->share;
    uint32_t bits = words(z);
    s->virtual_ns += charge(b, z, now) * 100 / z->quota.compute_weight;
    s->flying = (bits & PAGE_SHARE_FLYING) != 0;
    s->given_up = s->given_up && s->flying;
    bool wants = bits != 0;
    if (wants && !s->wants && s->virtual_ns < b->share.least_ns)
        s->virtual_ns = b->share.least_ns;
    s->wants = wants;
}

struct view {
    unsigned zones; /* with clients */
    unsigned wanting;
    bool capped; /* one of them is */
    struct zone *next;
};

/* The zone with the least time per weight of those that may; who had it last comes
 * last among equals. */
static struct view look_at_all(struct broker *b)
{
    struct view v = {0};
    struct share *s = &b->share;
    int64_t now = gi_monotonic_ns();
    uint64_t least = UINT64_MAX;
    /* Those that were there already, then those that have come: these start at the others' least.
     */
    for (int come = 0; come < 2; come++) {
        for (struct zone *z = b->zones; z; z = z->next) {
            if (z->share.looked_ns != now && z->share.wants == !come)
                look(b, z, now);
            if (!come && z->share.wants && z->share.virtual_ns < least)
                least = z->share.virtual_ns;
        }
        if (least != UINT64_MAX && least > s->least_ns)
            s->least_ns = least;
    }
    for (struct zone *z = b->zones; z; z = z->next) {
        v.zones += z->n_clients != 0;
        if (!z->share.wants)
            continue;
        v.wanting++;
        v.capped = v.capped || is_capped(z);
        if (z->share.broke)
            continue;
        if (!v.next || z->share.virtual_ns < v.next->share.virtual_ns ||
            (z->share.virtual_ns == v.next->share.virtual_ns && v.next == s->holder))
            v.next = z;
    }
    return v;
}

static void arm(struct broker *b, int64_t ns)
{
    struct itimerspec t = {.it_value = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000}};
    timerfd_settime(b->share.timer.fd, 0, &t, NULL);
}

/* Nobody to share with. */
static void leave_open(struct broker *b, const struct view *v)
{
    b->share.holder = NULL;
    b->share.draining_since_ns = 0;
    for (struct zone *z = b->zones; z; z = z->next)
        set_gate(z, z->share.broke                 ? PAGE_GATE_CLOSED
                    : v->zones > 1 || is_capped(z) ? PAGE_GATE_OPEN
                                                   : PAGE_GATE_FREE);
    arm(b, v->capped ? CAP_LOOK_NS : 0);
}

/* After the gates were closed. */
static bool others_fly(struct broker *b, const struct zone *but)
{
    bool fly = false;
    for (struct zone *z = b->zones; z; z = z->next)
        fly = fly || (z != but && !z->share.given_up && (words(z) & PAGE_SHARE_FLYING));
    return fly;
}

static void give_up(struct broker *b, const struct zone *but)
{
    for (struct zone *z = b->zones; z; z = z->next)
        z->share.given_up = z != but && (words(z) & PAGE_SHARE_FLYING);
}

/* Closes all gates but NEXT's; opens that when nothing else is in flight any more. */
static void hand_over(struct broker *b, struct zone *next)
{
    struct share *s = &b->share;
    int64_t now = gi_monotonic_ns();
    for (struct zone *z = b->zones; z; z = z->next) {
        if (z != next || z != s->holder)
            set_gate(z, PAGE_GATE_CLOSED);
    }
    if (next != s->holder && others_fly(b, next)) {
        if (!s->draining_since_ns)
            s->draining_since_ns = now;
        int64_t left = s->draining_since_ns + DRAIN_NS - now;
        if (left > 0) {
            arm(b, left);
            return;
        }
        give_up(b, next);
    }
    s->draining_since_ns = 0;
    s->holder = next;
    s->slice_ends_ns = now + SHARE_SLICE_NS;
    set_gate(next, PAGE_GATE_LENT);
    arm(b, SHARE_SLICE_NS);
}

void share_arbitrate(struct broker *b)
{
    struct share *s = &b->share;
    if (s->timer.fd < 0)
        return;
    struct view v = look_at_all(b);
    if (v.wanting < 2) {
        leave_open(b, &v);
        return;
    }
    if (!v.next) { /* all have used up their caps */
        s->holder = NULL;
        for (struct zone *z = b->zones; z; z = z->next)
            set_gate(z, PAGE_GATE_CLOSED);
        arm(b, CAP_LOOK_NS);
        return;
    }
    int64_t left = s->slice_ends_ns - gi_monotonic_ns();
    if (!s->holder || !s->holder->share.wants || s->holder->share.broke || left <= 0) {
        hand_over(b, v.next);
        return;
    }
    for (struct zone *z = b->zones; z; z = z->next) { /* one may be new */
        if (z != s->holder)
            set_gate(z, PAGE_GATE_CLOSED);
    }
    arm(b, left);
}

static void on_timer(struct source *s, uint32_t events)
{
    uint64_t expirations;
    if (read(s->fd, &expirations, sizeof(expirations)) == sizeof(expirations))
        share_arbitrate(s->owner);
}

static void on_bell(struct source *s, uint32_t events)
{
    struct zone *z = s->owner;
    uint64_t count;
    if (read(s->fd, &count, sizeof(count)) != sizeof(count))
        return;
    broker_watch(z->broker);
    share_arbitrate(z->broker);
}

int share_start(struct broker *b, struct gi_error *err)
{
    cleanup_close int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0)
        return gi_fail_errno(err, errno, "timerfd");
    int rc = loop_add(b->loop, &b->share.timer, fd, EPOLLIN, on_timer, b, err);
    if (rc == 0)
        (void)TAKE_FD(fd);
    return rc;
}

int share_zone_open(struct zone *z, struct gi_error *err)
{
    cleanup_close int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return gi_fail_errno(err, errno, "eventfd");
    int rc = loop_add(z->broker->loop, &z->share.bell, fd, EPOLLIN, on_bell, z, err);
    if (rc < 0)
        return rc;
    (void)TAKE_FD(fd);
    z->share.looked_ns = gi_monotonic_ns();
    z->share.budget_ns = burst(z);
    return 0;
}

void share_zone_close(struct zone *z)
{
    loop_drop(z->broker->loop, &z->share.bell);
    if (z->broker->share.holder == z)
        z->broker->share.holder = NULL;
}

/* Of the time since the oldest sample, how much was work in flight? */
static void sample(struct zone *z, int64_t now)
{
    struct zone_share *s = &z->share;
    uint32_t i = s->next_sample++ % SHARE_SAMPLES;
    uint64_t used = gpu_ns(z);
    int64_t wall = now - s->sampled_ns[i];
    if (s->sampled_ns[i] && wall > 0) {
        uint64_t permille = (used - s->samples[i]) / ((uint64_t)wall / 1000 + 1);
        atomic_store_explicit(&z->page->busy_permille,
                              used < s->samples[i] || permille > 1000 ? 1000 : (uint32_t)permille,
                              memory_order_relaxed);
    }
    s->samples[i] = used;
    s->sampled_ns[i] = now;
}

void share_tick(struct broker *b, int64_t now_ns)
{
    for (struct zone *z = b->zones; z; z = z->next)
        sample(z, now_ns);
    share_arbitrate(b);
}

bool share_is_quiet(struct broker *b)
{
    bool quiet = true;
    for (struct zone *z = b->zones; z; z = z->next) {
        uint64_t now = calls(z);
        quiet = quiet && now == z->share.calls && words(z) == 0;
        z->share.calls = now;
    }
    return quiet;
}
