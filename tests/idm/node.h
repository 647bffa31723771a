/* SPDX-License-Identifier: Apache-2.0 */
/* gpu-proxy with one zone, and an agent: all that a program with libvgpu needs.
 * GI_GPU_SOCKET is set for this process and its children. */
#ifndef GI_TESTS_IDM_NODE_H
#define GI_TESTS_IDM_NODE_H

#include "agent.h"
#include "proxy/harness.h"

#define NODE_ZONE 3

struct node {
    struct proxy proxy;
    struct agent agent;
    char zone[128];
};

/* False, with the reason on stderr. */
bool node_start(struct node *n, const char *proxy, const char *driver, uint64_t memory_quota);
/* gpu-proxy's exit code. */
int node_stop(struct node *n);

/* Runs TEST in a child, which has no channel and leaves none behind, and ends within a minute.
 * FAILED is minitest.h's count, of the child's own. */
bool node_apart(struct node *n, void (*test)(void), unsigned *failed);
/* apart_NAME: test NAME so. */
#define NODE_APART(node, name)                                                                     \
    static void apart_##name(void)                                                                 \
    {                                                                                              \
        EXPECT(node_apart(node, name, &mt_failed));                                                \
    }

/* Whoever needs the simulated GPU at PATH and doesn't find it skips its test. */
bool node_has_driver(const char *path);

#endif
