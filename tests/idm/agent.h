/* SPDX-License-Identifier: Apache-2.0 */
/* An agent that does nothing but hand channels over: programs with libvgpu
 * connect to its socket, it connects them with a gpu-proxy's zone. */
#ifndef GI_TESTS_IDM_AGENT_H
#define GI_TESTS_IDM_AGENT_H

#include <stdbool.h>
#include <sys/types.h>

struct agent {
    pid_t pid;
    char path[128];
};

/* A process of its own, listening in folder DIR. */
bool agent_start(struct agent *a, const char *dir, const char *zone_socket);
void agent_stop(struct agent *a);

#endif
