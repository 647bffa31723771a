/* SPDX-License-Identifier: Apache-2.0 */
/* Where the OCI runtime brings a terminal's master: a socket in a container's folder. */
#ifndef AGENT_CONSOLE_H
#define AGENT_CONSOLE_H

#include <stdint.h>

#include "agent.h"

#define CONSOLE_PATH_MAX 96

struct console {
    struct loop_io io; /* the listener; fd -1 */
    struct agent *a;
    int dir; /* its folder, named to the OCI runtime through /proc; -1 */
    char name[32];
    void (*fn)(void *data, int master);
    void *data;
};

void console_init(struct console *c);
/* Listens at DIR/NAME; FN takes the master, which is a terminal. PATH, of
 * CONSOLE_PATH_MAX bytes, is what to tell the OCI runtime. */
int console_listen(struct console *c, struct agent *a, const char *dir, const char *name,
                   void (*fn)(void *data, int master), void *data, char *path,
                   struct gi_error *err);
/* The OCI runtime has ended: what it sent is there now or never comes. Calls FN in the first
 * case; closes. */
void console_finish(struct console *c);
/* Idempotent. */
void console_close(struct console *c);

/* What CRI calls a resize; 0 x 0 is none. */
void console_resize(int master, uint16_t width, uint16_t height);

#endif
