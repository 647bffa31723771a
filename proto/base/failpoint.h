/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failpoints: places behind a step that changes state, where a test makes the
 * program fail, die or hang. They exist only in builds with GI_FAILPOINTS
 * (debug builds with tests); elsewhere the macros are nothing.
 *
 *   GI_FAILPOINT=NAME=error[:COUNT]   the step's caller gets an error, COUNT times (1)
 *   GI_FAILPOINT=NAME=crash           the process is gone, as by kill -9
 *   GI_FAILPOINT=NAME=hang            the thread stays here
 *   GI_FAILPOINT=@FILE                FILE says it, read anew at each failpoint and
 *                                     removed when it fires
 */
#ifndef GI_BASE_FAILPOINT_H
#define GI_BASE_FAILPOINT_H

#include "base/error.h"

#ifdef GI_FAILPOINTS

/* What the macros call: 0, or -INTERNAL. */
int gi_failpoint_hit(const char *name, struct gi_error *err);
/* Prints all names of this program, one a line. */
int gi_failpoint_list(void);

/* All names lie side by side in a section of their own. */
#define GI_FAILPOINT_NAME(name)                                                                    \
    static const char *const gi_failpoint_name __attribute__((section("gi_failpoints"), used)) =   \
        (name)

/* After a step whose result is RC: if it went well, it may fail here instead. */
#define GI_FAILPOINT(rc, name, err)                                                                \
    do {                                                                                           \
        GI_FAILPOINT_NAME(name);                                                                   \
        if ((rc) == 0)                                                                             \
            (rc) = gi_failpoint_hit(gi_failpoint_name, err);                                       \
    } while (0)

/* After a step that can't fail: "error" is nothing here. */
#define GI_FAILPOINT_HERE(name)                                                                    \
    do {                                                                                           \
        GI_FAILPOINT_NAME(name);                                                                   \
        (void)gi_failpoint_hit(gi_failpoint_name, NULL);                                           \
    } while (0)

#else
#define GI_FAILPOINT(rc, name, err) (void)0
#define GI_FAILPOINT_HERE(name)     (void)0
#endif

#endif
