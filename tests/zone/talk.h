/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of streams share: one zone a test, sessions and all they said. */
#ifndef TESTS_ZONE_TALK_H
#define TESTS_ZONE_TALK_H

#include "zone_util.h"

#include "agent/agent_stream.h"
#include "base/buf.h"

extern struct machine *zone;
extern struct recorder rec;
extern struct agent_client *client;

int zone_up(void **state);
int zone_down(void **state);
/* Runs TESTS, each to be set up by the two above; a test's name as argument is a filter. */
int talk_tests(int argc, char **argv, const char *name, const struct CMUnitTest *tests, size_t n);

/* Makes, follows and starts a container that runs `sh -c SCRIPT`. */
void run_with(const char *id, const char *script, struct agent_container_spec spec);
void run(const char *id, const char *script);
/* The image's root folder; what xenmgr says of itself. */
const char *talk_rootfs(void);
const char *talk_driver(void);
/* The folder of the containers' folders. */
const char *talk_scratch(void);
/* A fresh connection to the zone's agent. */
int connection(void);

struct talk {
    struct agent_session *s;
    struct gi_buf out;
    struct gi_buf err;
    bool ended;
    int exit_code;
    int rc;
    struct gi_error why;
};

extern const struct agent_stream_spec talk_all; /* stdin, stdout, stderr */
extern const struct agent_stream_spec talk_output;
extern const struct agent_stream_spec talk_terminal;

/* `sh -c SCRIPT` in container c. */
int try_exec(struct talk *t, const char *script, struct agent_stream_spec spec);
void exec_open(struct talk *t, const char *script, struct agent_stream_spec spec);
int try_attach(struct talk *t, const char *id, struct agent_stream_spec spec);
void attach_open(struct talk *t, const char *id, struct agent_stream_spec spec);
void talk_free(struct talk *t);
/* Takes what is there; false when the session is over. */
bool talk_read(struct talk *t);
/* Fails the test at DEADLINE (monotonic ns). */
void wait_session(struct talk *t, short events, int64_t deadline);
void talk_until(struct talk *t, const char *text, int ms);
void talk_end(struct talk *t, int ms);
void say(struct talk *t, const char *text);

/* Waits until TEXT is N times in the command lines of container c's processes. */
void wait_processes(const char *text, int n);

#endif
