/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that wait for work, each on a condition of its own. One condition for
 * all of them would do but for glibc before 2.41, whose pthread_cond_signal can be
 * lost where several threads wait (its bug 25847): a queue with work in it and nobody
 * awake.
 *
 * Everything is called with the lock that guards the work. Who sleeps is on its own
 * thread's stack; who was woken is off the list already, and the last to sleep, whose
 * stack is warm, is woken first.
 */
#ifndef GI_BASE_IDLE_H
#define GI_BASE_IDLE_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

struct gi_idle_thread {
    pthread_cond_t cond;
    bool woken;
    struct gi_idle_thread *next;
};

struct gi_idle {
    struct gi_idle_thread *first;
    unsigned n; /* asleep; those woken aren't counted */
};

static inline void gi_idle_leave(struct gi_idle *idle, const struct gi_idle_thread *t)
{
    struct gi_idle_thread **at = &idle->first;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    idle->n--;
}

/* Sleeps until woken, or until UNTIL on the monotonic clock (NULL: for ever). True: woken. */
static inline bool gi_idle_sleep(struct gi_idle *idle, pthread_mutex_t *lock,
                                 const struct timespec *until)
{
    struct gi_idle_thread t = {.next = idle->first};
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t.cond, &attr);
    pthread_condattr_destroy(&attr);
    // cppcheck-suppress autoVariables ; off the list before this returns
    idle->first = &t;
    idle->n++;
    int rc = 0;
    while (!t.woken && rc != ETIMEDOUT)
        rc =
            until ? pthread_cond_timedwait(&t.cond, lock, until) : pthread_cond_wait(&t.cond, lock);
    if (!t.woken)
        gi_idle_leave(idle, &t);
    pthread_cond_destroy(&t.cond);
    // NOLINTNEXTLINE(clang-analyzer-core.StackAddressEscape): who was woken is off the list
    return t.woken;
}

/* Wakes one. False: nobody sleeps. */
static inline bool gi_idle_wake(struct gi_idle *idle)
{
    struct gi_idle_thread *t = idle->first;
    if (!t)
        return false;
    idle->first = t->next;
    idle->n--;
    t->woken = true;
    pthread_cond_signal(&t->cond);
    return true;
}

#endif
