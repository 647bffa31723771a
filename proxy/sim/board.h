/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A board: what processes tell each other of a process's interprocess events, in a memfile of
 * its. An event's slot counts its recordings and says of the last ones whether they are done and
 * who made them; one word of the board changes whenever any is done, and who waits sleeps on it.
 *
 *   who records:  n = board_record()  ...  board_done(n): mark, ring
 *   who waits:    n = board_recorded(), board_watch(n): a thread a board, while it is waited for
 *
 * Everything on a board may be another process's lie: it is read once, and decides nothing but
 * whether a wait ends. Recordings of a process that is gone are done.
 * All functions may be called by any thread, also with the scheduler's lock.
 */
#ifndef SIM_BOARD_H
#define SIM_BOARD_H

#include "share.h"

#define BOARD_SLOTS   4096u /* events of a process that others may know */
#define BOARD_MAX     64u   /* boards, one a process whose events are known here */
#define BOARD_WATCHES 4096u

struct board;
struct point;

/* A place of our own for a new event. */
CUresult board_take(struct board_place *ret_place);
/* The place that H, which may be anything, names; another process's. */
CUresult board_open(const struct share_handle *h, struct board_place *ret_place);
/* Is the event still there? */
bool board_has(const struct board_place *p);
/* The event is destroyed here: its place, if ours, is free; gives P's reference back. */
void board_leave(struct board_place *p);
/* The handle of an event of our own. */
void board_handle(const struct board_place *p, struct share_handle *ret_handle);
/* The memfile of the event that H, which may be anything, names, if it is ours; else -1. */
int board_fd(const struct share_handle *h);

/* May there be one recording more, or is the oldest that is known still under way? CLOSELY: even of
 * a process that is gone. */
bool board_has_room(const struct board_place *p, bool closely);
/* One recording more; its number. */
uint64_t board_record(const struct board_place *p);
/* Recording N is done. */
void board_done(const struct board_place *p, uint64_t n);
/* The number of the last recording, whoever made it; 0: there is none. */
uint64_t board_recorded(const struct board_place *p);
/* Is recording N done? Of who made it nobody is asked. */
bool board_is_done(const struct board_place *p, uint64_t n);
/* Sees to it that point_is_done(WHAT) is called, with no lock held, when recording N is done;
 * a reference to WHAT goes there. */
CUresult board_watch(const struct board_place *p, uint64_t n, struct point *what);
/* A reference more. */
void board_hold(struct board *b);
void board_put(struct board *b);

#endif
