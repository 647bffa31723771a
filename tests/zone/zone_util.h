/* SPDX-License-Identifier: Apache-2.0 */
/* What the zone tests share: a busybox root folder, specs, a recording client. */
#ifndef TESTS_ZONE_UTIL_H
#define TESTS_ZONE_UTIL_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/agent_client.h"
#include "xenmgr.h"

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        struct gi_error ok_err_ = GI_ERROR_INIT;                                                   \
        struct gi_error *err = &ok_err_;                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, ok_err_.message);                                            \
    } while (0)

/* Exits 77 with the reason when this machine can't run zones. */
void zone_need(void);

/* A fresh folder <tmp>/gi-zone-XXXXXX with run/, state/ and rootfs/ (busybox). */
struct place {
    char dir[64];
    char run[80];
    char state[80];
    char rootfs[80];
};
void place_make(struct place *p);
void place_remove(const struct place *p);
struct xenmgr *place_open(const struct place *p);

/* OCI spec that runs `sh -c SCRIPT`; heap. EXTRA: members of "linux" (may be ""). */
char *spec_text(const char *script, const char *extra);

struct line {
    int64_t time_ns;
    enum agent_stream stream;
    bool partial;
    size_t len;
    char *data;
};

/* Everything the callbacks of one connection said. */
struct recorder {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    struct agent_client *client; /* acknowledges when set and `ack` */
    bool ack;
    struct line *lines;
    size_t n_lines;
    size_t bytes;
    struct agent_exit exits[64];
    char exit_ids[64][65];
    size_t n_exits;
    bool gone;
    struct gi_error why;
};
extern const struct agent_callbacks recorder_callbacks;
void recorder_init(struct recorder *r);
void recorder_free(struct recorder *r);
/* Waits until FN(r) holds; fails the test after MS. */
void recorder_wait(struct recorder *r, bool (*fn)(const struct recorder *r, const void *arg),
                   const void *arg, int ms);
/* The exit of ID, waited for. */
struct agent_exit recorder_exit(struct recorder *r, const char *id);
/* All data of a stream, newlines put back; heap. */
char *recorder_text(struct recorder *r, enum agent_stream stream, size_t *ret_len);

struct agent_client *connect_recorder(struct machine *m, struct recorder *r);

#endif
