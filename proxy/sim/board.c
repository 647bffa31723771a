/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "stream.h"

#define RING     254u
#define LOOK_NS  200000000u /* how often a wait looks after who it waits for */
#define BREAK_NS 50000
#define PATIENCE 10 /* looks at a recording that was counted and isn't there */

struct recording {
    atomic_ullong state; /* 2 * number + 1 if it is done */
    atomic_ullong who;
};

struct slot {
    atomic_ullong id;     /* 0: nobody's */
    atomic_ullong before; /* recordings of whose it was before */
    atomic_ullong recorded;
    struct recording last[RING]; /* by number */
    uint64_t room;
};

struct sheet {
    atomic_uint bell;
    uint8_t room[MEMFILE_PAGE - sizeof(atomic_uint)];
    struct slot slot[BOARD_SLOTS];
};

_Static_assert(sizeof(struct slot) == MEMFILE_PAGE && sizeof(struct sheet) % MEMFILE_PAGE == 0,
               "what processes agree on");

struct watch {
    struct watch *next;
    struct board_place place; /* no reference: the board has it while it is watched */
    uint64_t n;
    struct point *what;
    unsigned missed;
};

struct board {
    struct board *next;
    unsigned refs; /* as everything but the sheet, under the lock */
    uint64_t process;
    struct sheet *sheet;
    struct watch *watches;
    bool watched; /* there is a thread, which has a reference */
};

static struct {
    pthread_mutex_t lock;
    struct board *first;
    unsigned n, watches;
    struct board *own; /* for good */
    int own_fd;
    uint64_t ids[BOARD_SLOTS]; /* whose our slots are: theirs on the sheet anybody can change */
    uint64_t last_id;
} boards = {.lock = PTHREAD_MUTEX_INITIALIZER, .own_fd = -1};

/* --- Who is there ------------------------------------------------------------------------ */

/* PID's start in clock ticks, 32 bits of it: another process of that number has another one.
 * 0: nobody can tell; false: it is gone. */
static bool started(uint32_t pid, uint32_t *ret_start)
{
    char path[32], text[512];
    *ret_start = 0;
    snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno != ENOENT;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return n < 0 && errno != ESRCH;
    text[n] = '\0';
    /* The name may contain anything; after it: the state, 18 numbers, the start. */
    const char *p = strrchr(text, ')');
    char state = 0;
    unsigned long long start = 0;
    if (!p || sscanf(p + 1,
                     " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                     "%*s %*s %llu",
                     &state, &start) != 2)
        return true;
    *ret_start = (uint32_t)start;
    return state != 'Z' && state != 'X';
}

static uint64_t self;

static void find_self(void)
{
    uint32_t start, pid = (uint32_t)getpid();
    (void)started(pid, &start);
    self = (uint64_t)start << 32 | pid;
}

static uint64_t own_self(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_self);
    return self;
}

static bool is_there(uint64_t who)
{
    uint32_t start, then = (uint32_t)(who >> 32);
    return who == own_self() ||
           (started((uint32_t)who, &start) && (!start || !then || start == then));
}

/* --- The sheet --------------------------------------------------------------------------- */

static struct slot *slot_of(const struct board_place *p)
{
    return &p->board->sheet->slot[p->slot];
}

static void ring(struct sheet *sheet)
{
    atomic_fetch_add(&sheet->bell, 1);
    syscall(SYS_futex, &sheet->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool board_has(const struct board_place *p)
{
    return atomic_load(&slot_of(p)->id) == p->id;
}

uint64_t board_record(const struct board_place *p)
{
    struct slot *s = slot_of(p);
    uint64_t n = (atomic_fetch_add(&s->recorded, 1) + 1) & INT64_MAX;
    struct recording *r = &s->last[n % RING];
    atomic_store(&r->who, own_self());
    atomic_store(&r->state, 2 * n);
    return n;
}

bool board_has_room(const struct board_place *p, bool closely)
{
    struct slot *s = slot_of(p);
    struct recording *r = &s->last[(atomic_load(&s->recorded) + 1) % RING];
    uint64_t state = atomic_load(&r->state);
    return !state || state & 1 || (closely && !is_there(atomic_load(&r->who)));
}

void board_done(const struct board_place *p, uint64_t n)
{
    unsigned long long pending = 2 * n;
    /* If it is off the ring, others came between board_has_room and them: they tell for it. */
    atomic_compare_exchange_strong(&slot_of(p)->last[n % RING].state, &pending, 2 * n + 1);
    ring(p->board->sheet);
}

uint64_t board_recorded(const struct board_place *p)
{
    struct slot *s = slot_of(p);
    uint64_t n = atomic_load(&s->recorded) & INT64_MAX;
    return board_has(p) && n != atomic_load(&s->before) ? n : 0;
}

/* As the ring has it: N itself, or a later one in its place. An event that was destroyed needn't be
 * waited for. */
bool board_is_done(const struct board_place *p, uint64_t n)
{
    uint64_t state = atomic_load(&slot_of(p)->last[n % RING].state);
    return !board_has(p) || (state & 1 && state / 2 >= n);
}

/* Who was looked after last: most wait for the same one. */
struct look {
    uint64_t who;
    bool there;
};

static bool is_there_still(struct look *look, uint64_t who)
{
    if (look->who != who)
        *look = (struct look){who, is_there(who)};
    return look->there;
}

/* LOOK: also whether who made it is there still. */
static bool is_done(struct watch *w, struct look *look)
{
    if (board_is_done(&w->place, w->n))
        return true;
    if (!look)
        return false;
    const struct recording *r = &slot_of(&w->place)->last[w->n % RING];
    if (atomic_load(&r->state) / 2 <
        w->n) /* who counted it is about to say more, or died just then */
        return ++w->missed > PATIENCE;
    return !is_there_still(look, atomic_load(&r->who));
}

/* --- Watching ------------------------------------------------------------------------------ */

/* With the lock: those of B's watches that are over. */
static struct watch *take_done(struct board *b, bool closely)
{
    struct watch *done = NULL;
    struct look look = {own_self(), true};
    for (struct watch **at = &b->watches; *at;) {
        struct watch *w = *at;
        if (!is_done(w, closely ? &look : NULL)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = done;
        done = w;
        boards.watches--;
    }
    return done;
}

static void tell(struct watch *done)
{
    while (done) {
        struct watch *w = done;
        done = w->next;
        point_is_done(w->what);
        free(w);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Until the bell, which was AT, rings, or it is time for a look. */
static void sleep_on(struct sheet *sheet, unsigned at)
{
    const struct timespec t = {.tv_nsec = LOOK_NS};
    syscall(SYS_futex, &sheet->bell, FUTEX_WAIT, at, &t, NULL, 0);
}

/* One round. False: nobody has waited for long. */
static bool look_at(struct board *b, bool closely, struct watch **ret_done)
{
    GI_LOCK_SCOPE(&boards.lock);
    *ret_done = take_done(b, closely);
    if (closely && !*ret_done && !b->watches)
        b->watched = false;
    return b->watched;
}

static void *watch(void *arg)
{
    const struct timespec nap = {.tv_nsec = BREAK_NS};
    struct board *b = arg;
    struct watch *done;
    uint64_t looked = 0;
    for (;;) {
        unsigned bell = atomic_load(&b->sheet->bell);
        uint64_t now = now_ns();
        bool closely = now - looked >= LOOK_NS;
        if (closely)
            looked = now;
        if (!look_at(b, closely, &done))
            break;
        if (!done && !closely) /* it rang for others, or for nothing */
            nanosleep(&nap, NULL);
        tell(done);
        sleep_on(b->sheet, bell);
    }
    board_put(b);
    return NULL;
}

CUresult board_watch(const struct board_place *p, uint64_t n, struct point *what)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (!w)
        return CUDA_ERROR_OUT_OF_MEMORY;
    w->place = *p;
    w->n = n;
    w->what = what;
    struct board *b = p->board;
    pthread_mutex_lock(&boards.lock);
    CUresult rc = boards.watches < BOARD_WATCHES ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    if (rc == CUDA_SUCCESS && !b->watched) {
        b->watched = thread_start(watch, b);
        b->refs += b->watched;
        rc = b->watched ? CUDA_SUCCESS : CUDA_ERROR_OPERATING_SYSTEM;
    }
    if (rc == CUDA_SUCCESS) {
        w->next = b->watches;
        b->watches = w;
        boards.watches++;
    }
    pthread_mutex_unlock(&boards.lock);
    if (rc == CUDA_SUCCESS)
        ring(b->sheet); /* it may be asleep */
    else
        free(w);
    return rc;
}

/* --- Boards -------------------------------------------------------------------------------- */

/* With the lock. */
static struct board *board_new(int fd, uint64_t process)
{
    if (boards.n == BOARD_MAX)
        return NULL;
    struct board *b = calloc(1, sizeof(*b));
    struct sheet *sheet = b ? memfile_map(fd, 0, sizeof(*sheet)) : NULL;
    if (!sheet) {
        free(b);
        return NULL;
    }
    b->refs = 1;
    b->process = process;
    b->sheet = sheet;
    b->next = boards.first;
    boards.first = b;
    boards.n++;
    return b;
}

void board_hold(struct board *b)
{
    GI_LOCK_SCOPE(&boards.lock);
    b->refs++;
}

void board_put(struct board *b)
{
    GI_LOCK_SCOPE(&boards.lock);
    if (--b->refs)
        return;
    struct board **at = &boards.first;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    boards.n--;
    munmap(b->sheet, sizeof(*b->sheet));
    free(b);
}

/* With the lock. */
static bool have_own(void)
{
    if (boards.own)
        return true;
    int fd = memfile_new(MEMFILE_EVENTS, 0, sizeof(struct sheet));
    if (fd < 0)
        return false;
    boards.own = board_new(fd, memfile_process());
    if (boards.own)
        boards.own_fd = fd;
    else
        close(fd);
    return boards.own != NULL;
}

CUresult board_take(struct board_place *ret_place)
{
    unsigned i = 0;
    GI_LOCK_SCOPE(&boards.lock);
    while (i < BOARD_SLOTS && boards.ids[i])
        i++;
    if (i == BOARD_SLOTS || !have_own())
        return CUDA_ERROR_OUT_OF_MEMORY;
    boards.ids[i] = ++boards.last_id;
    boards.own->refs++;
    struct slot *s = &boards.own->sheet->slot[i];
    atomic_store(&s->before, atomic_load(&s->recorded) & INT64_MAX);
    atomic_store(&s->id, boards.ids[i]);
    *ret_place = (struct board_place){boards.own, i, boards.ids[i]};
    return CUDA_SUCCESS;
}

CUresult board_open(const struct share_handle *h, struct board_place *ret_place)
{
    errno = 0;
    struct memfile file;
    cleanup_close int fd = share_open(h, MEMFILE_EVENTS, &file);
    if (fd < 0)
        return errno == EMFILE ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_HANDLE;
    const uint64_t first = offsetof(struct sheet, slot);
    uint64_t at = h->offset - first;
    if (file.bytes != sizeof(struct sheet) || h->offset < first || at % sizeof(struct slot) ||
        h->bytes != sizeof(struct slot) || at / sizeof(struct slot) >= BOARD_SLOTS || !h->id)
        return CUDA_ERROR_INVALID_HANDLE;
    GI_LOCK_SCOPE(&boards.lock);
    struct board *b = boards.first;
    while (b && b->process != h->process)
        b = b->next;
    if (b)
        b->refs++;
    else
        b = board_new(fd, h->process);
    if (!b)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *ret_place = (struct board_place){b, (unsigned)(at / sizeof(struct slot)), h->id};
    return CUDA_SUCCESS;
}

void board_leave(struct board_place *p)
{
    pthread_mutex_lock(&boards.lock);
    bool ours = p->board == boards.own && boards.ids[p->slot] == p->id;
    if (ours) {
        boards.ids[p->slot] = 0;
        atomic_store(&slot_of(p)->id, 0);
    }
    pthread_mutex_unlock(&boards.lock);
    if (ours)
        ring(p->board->sheet); /* nobody need wait for it */
    board_put(p->board);
    p->board = NULL;
}

void board_handle(const struct board_place *p, struct share_handle *ret_handle)
{
    share_handle_init(ret_handle, MEMFILE_EVENTS, 0, boards.own_fd);
    ret_handle->offset = offsetof(struct sheet, slot) + p->slot * sizeof(struct slot);
    ret_handle->bytes = sizeof(struct slot);
    ret_handle->id = p->id;
}

int board_fd(const struct share_handle *h)
{
    uint64_t i = (h->offset - offsetof(struct sheet, slot)) / sizeof(struct slot);
    GI_LOCK_SCOPE(&boards.lock);
    return i < BOARD_SLOTS && h->id && boards.ids[i] == h->id ? boards.own_fd : -1;
}
