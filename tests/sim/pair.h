/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of two processes. The other one of each is forked before the driver is there, and waits
 * until its test begins; what the two tell each other may have a descriptor with it.
 */
#ifndef TEST_PAIR_H
#define TEST_PAIR_H

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "idm/share_table.h"
#include "test_kernels.h"

#define MIB (1ull << 20)

static inline CUresult poke(CUmodule m, CUdeviceptr at)
{
    CUfunction f = NULL;
    void *params[] = {&at};
    OK(cuModuleGetFunction(&f, m, "poke"));
    OK(launch(f, NULL, params));
    return cuCtxSynchronize();
}

static inline uint32_t word_at(CUdeviceptr at)
{
    uint32_t word = 77;
    OK(cuMemcpyDtoH(&word, at, 4));
    return word;
}

struct pair {
    void (*before)(void); /* the other process, before it has the driver; may be NULL */
    void (*body)(void);
    pid_t pid;
    int line;
};

static int line = -1; /* to the other process */

static inline void tell(const void *data, size_t bytes, int fd)
{
    char room[CMSG_SPACE(sizeof(fd))] = {0};
    struct iovec v = {(void *)(uintptr_t)data, bytes};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = room;
        m.msg_controllen = sizeof(room);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    EXPECT_EQ(sendmsg(line, &m, MSG_NOSIGNAL), (ssize_t)bytes);
}

/* The descriptor that came with it, or -1. */
static inline int hear(void *data, size_t bytes)
{
    int fd = -1;
    char room[CMSG_SPACE(sizeof(fd))] = {0};
    // cppcheck-suppress ctuuninitvar ; it is written, not read
    struct iovec v = {data, bytes};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
    EXPECT_EQ(recvmsg(line, &m, MSG_CMSG_CLOEXEC), (ssize_t)bytes);
    const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

static inline void nudge(void)
{
    tell("", 1, -1);
}

static inline void await(void)
{
    char c = 0;
    (void)hear(&c, 1);
}

/* The other process, at once and without a word, if all was well so far. */
static inline void die(void)
{
    if (mt_failed)
        exit(1);
    raise(SIGKILL);
}

static void pair_fork(struct pair *p)
{
    int both[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, both) < 0)
        exit(1);
    p->pid = fork();
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        char c;
        line = both[1];
        close(both[0]);
        if (read(line, &c, 1) != 1)
            _exit(0);
        if (p->before)
            p->before();
        EXPECT_EQ(set_up(), 0);
        p->body();
        if (context)
            cuCtxDestroy(context);
        exit(mt_failed ? 1 : 0);
    }
    close(both[1]);
    p->line = both[0];
}

static void pair_start(const struct pair *p)
{
    line = p->line;
    nudge();
}

/* Waits for the other process; it was to end well, or by SIGKILL. */
static void pair_end(const struct pair *p, bool killed)
{
    int status = -1;
    EXPECT_EQ(waitpid(p->pid, &status, 0), p->pid);
    EXPECT_EQ(status, killed ? SIGKILL : 0);
    close(p->line);
    line = -1;
}

static inline const struct share_table *share_table(void)
{
    static const CUuuid id = SHARE_TABLE_ID;
    const void *t = NULL;
    OK(cuGetExportTable(&t, &id));
    return t;
}

#endif
