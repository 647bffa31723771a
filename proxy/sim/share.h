/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles that processes give each other: they name a memfile and a place in it. Whoever opens
 * one takes it for anything until it is checked. All functions may be called by any thread.
 */
#ifndef SIM_SHARE_H
#define SIM_SHARE_H

#include "driver.h"
#include "memfile.h"

#define SHARE_MAX_OPENED 4096u /* different ones at a time */

/* The 64 bytes. */
struct share_handle {
    uint64_t magic;
    uint16_t version;
    uint16_t kind;     /* enum memfile_kind */
    uint32_t replaced; /* the descriptor is one of who opens it */
    uint64_t process;  /* memfile_process() of who made it */
    int32_t pid;
    int32_t fd;
    int32_t device;
    uint32_t zero;
    uint64_t offset; /* in the memfile */
    uint64_t bytes;
    uint64_t id; /* no other of that process has or had it */
};

/* All but place, bytes and id. */
void share_handle_init(struct share_handle *h, enum memfile_kind kind, int device, int fd);
/* Is it one of KIND? */
bool share_handle_is(const struct share_handle *h, enum memfile_kind kind);
/* This process made it. */
bool share_handle_is_own(const struct share_handle *h);
/* H's memfile, which contains its place: a descriptor, the caller's; -1: there is none.
 * H is one of KIND. */
int share_open(const struct share_handle *h, enum memfile_kind kind, struct memfile *ret_file);

/* The context C ends: so does what it opened. Nothing uses it any more. */
void opened_end(const struct CUctx_st *c);

#endif
