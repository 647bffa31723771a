/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership by scope: a variable marked with one of these releases what it
 * holds when it goes out of scope; TAKE_PTR / TAKE_FD hand the value on and
 * leave the variable empty.
 */
#ifndef GI_BASE_CLEANUP_H
#define GI_BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void gi_cleanup_freep(void *p)
{
    free(*(void **)p);
}

static inline void gi_cleanup_closep(const int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
    }
}

static inline void gi_cleanup_fclosep(FILE **f)
{
    if (*f)
        fclose(*f);
}

static inline void gi_cleanup_closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static inline void gi_cleanup_unlockp(pthread_mutex_t **m)
{
    if (*m)
        pthread_mutex_unlock(*m);
}

#define cleanup_free     __attribute__((cleanup(gi_cleanup_freep)))
#define cleanup_close    __attribute__((cleanup(gi_cleanup_closep)))
#define cleanup_fclose   __attribute__((cleanup(gi_cleanup_fclosep)))
#define cleanup_closedir __attribute__((cleanup(gi_cleanup_closedirp)))

/* Declares TYPE's cleanup attribute from a `void fn(TYPE)` that accepts NULL:
 *   GI_DEFINE_CLEANUP(struct foo *, foo_free)
 *   __attribute__((cleanup(foo_freep))) struct foo *f = NULL; */
#define GI_DEFINE_CLEANUP(type, fn)                                                                \
    static inline void fn##p(type *p)                                                              \
    {                                                                                              \
        if (*p)                                                                                    \
            fn(*p);                                                                                \
    }                                                                                              \
    struct gi_swallow_semicolon

/* Holds MUTEX until the end of the enclosing scope. */
static inline pthread_mutex_t *gi_lock(pthread_mutex_t *m)
{
    pthread_mutex_lock(m);
    return m;
}
#define GI_CONCAT_(a, b) a##b
#define GI_CONCAT(a, b)  GI_CONCAT_(a, b)
#define GI_LOCK_SCOPE(mutex)                                                                       \
    __attribute__((cleanup(gi_cleanup_unlockp), unused)) pthread_mutex_t *GI_CONCAT(               \
        gi_lock_, __LINE__) = gi_lock(mutex)

#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) take_ptr_ = (p);                                                             \
        (p) = NULL;                                                                                \
        take_ptr_;                                                                                 \
    })

#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int take_fd_ = (fd);                                                                       \
        (fd) = -1;                                                                                 \
        take_fd_;                                                                                  \
    })

#define GI_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
