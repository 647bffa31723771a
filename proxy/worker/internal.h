/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a worker, known to this folder only. One thread. */
#ifndef WORKER_INTERNAL_H
#define WORKER_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "idm/codec.h"
#include "idm/cuda_abi.h"
#include "idm/facts.h"
#include "idm/handle.h"
#include "idm/ring.h"
#include "shelf.h"
#include "worker.h"
#include "worker_calls.h"

/* --- objects.c: the client's handles ------------------------------------- */

struct worker_object {
    uint64_t id;         /* 0: the place is free */
    uint64_t context;    /* id of the context it belongs to; its end is the object's; 0: none */
    void *scrubber;      /* context: the stream that zeroes its allocations; made when needed */
    void *graveyard;     /* context: a stream that waits for what destroyed ones had left to do */
    uint64_t parent;     /* a function's module or library; a kernel's library */
    void *driver;        /* the driver's handle */
    uint32_t generation; /* the highest ever used at this place */
    CUresult failed;     /* its creation failed, so do its uses */
    uint64_t charged; /* array, module, kernel, context: bytes of the quota, given back with it */
    uint64_t loaded;  /* kernel, library: the context its charge is for */
    uint64_t owed;    /* library: bytes taken in that context that the quota had no room for */
    uint32_t value;   /* function: bytes of parameters; context: 1 + device of a primary one */
    struct shelf_token shared; /* event: on the zone's shelf */
};

struct objects {
    struct worker_object *places;
    uint32_t max;
    uint32_t used;
};

/* The driver's handle of the client's ID. INVALID_HANDLE, counted, when it
 * isn't this client's, is stale, or of another kind. NULLABLE: 0 is NULL. */
CUresult worker_find(struct worker *w, enum idm_kind kind, uint64_t id, bool nullable,
                     void **ret_driver);
CUresult worker_find_object(struct worker *w, enum idm_kind kind, uint64_t id,
                            struct worker_object **ret_object);
/* For the call that ends the object. One whose creation failed ends here. */
CUresult worker_find_last(struct worker *w, enum idm_kind kind, uint64_t id, void **ret_driver);
CUresult worker_find_stream(struct worker *w, uint64_t id, CUstream *ret_stream);
/* Is ID good for a new object? The place is taken by worker_born only. */
CUresult worker_expect(struct worker *w, enum idm_kind kind, uint64_t id,
                       struct worker_object **ret_object);
/* The driver has answered RC; a failure is remembered for the object's uses. */
void worker_born(struct worker *w, struct worker_object *o, uint64_t id, void *driver, CUresult rc);
void worker_gone(struct worker *w, uint64_t id);
/* Forgets all objects whose context or parent is ID, and what is in modules among them. */
void worker_orphans_gone(struct worker *w, uint64_t id);
int objects_init(struct objects *o, uint32_t max);

/* --- ranges.c: the client's device addresses ------------------------------ */

enum range_kind {
    RANGE_ALLOCATION,
    RANGE_GLOBAL,
    RANGE_HOST,
    RANGE_MAPPED,
    RANGE_OPENED, /* another client's, of the same zone */
    RANGE_RESERVED
};

struct range {
    uint64_t base;
    uint64_t bytes;
    uint64_t context;
    uint64_t owner; /* RANGE_GLOBAL: module or library; RANGE_HOST: offset in the arena */
    struct allocation *memory; /* RANGE_MAPPED */
    struct shelf_token shared; /* ALLOCATION, OPENED: on the zone's shelf, and charged there */
    enum range_kind kind;
};

struct ranges {
    struct range *all; /* by base, disjoint */
    uint32_t n;
    uint32_t room;
    uint32_t max;
};

/* The range that contains ADDRESS, or NULL. */
struct range *ranges_at(const struct ranges *r, uint64_t address);
/* 0, or -1: no room, no memory, or it overlaps another. A range that is there already
 * (same base and kind) is a success. */
int ranges_add(struct ranges *r, const struct range *range);
void ranges_remove(struct ranges *r, struct range *range);

/* Are COUNT * UNIT bytes from ADDRESS the client's? INVALID_VALUE, counted, if
 * not. Mappings side by side are one memory. */
CUresult worker_check_memory(struct worker *w, uint64_t address, uint64_t count, uint32_t unit);
/* Forgets ranges of a context (or of a module) and gives their quota back. */
void worker_ranges_gone(struct worker *w, uint64_t context_or_module);

/* --- calls_vmm.c: memory and addresses apart -------------------------------- */

#define MAX_RESERVED 4096

/* What cuMemCreate gave. */
struct allocation {
    CUmemGenericAllocationHandle driver;
    uint64_t bytes;
    uint64_t cleared;          /* up to here it was the client's before */
    struct shelf_token shared; /* on the zone's shelf, and charged there */
    uint32_t refs;             /* its handles and mappings */
    int dev;
};

/* Zeroes what of A nobody has had access to yet. */
CUresult worker_clear_whole(struct worker *w, struct allocation *a);
/* At the worker's end. */
void worker_vmm_end(struct worker *w);

/* --- shelf.c: what the zone's clients share (proxy/shelf.h) ----------------- */

/* A hold on ITEM for us, which others may take for *ret_token; FD (-1: none) goes with it, and
 * stays the caller's. */
CUresult shelf_put(struct worker *w, const struct shelf_item *item, int fd,
                   struct shelf_token *ret_token);
/* The item of KIND for TOKEN, with a hold on it; *ret_fd (-1: none) is the caller's. Another worker
 * of the zone wrote it: only its device is checked. A token of nothing is INVALID_HANDLE, counted.
 */
CUresult shelf_get(struct worker *w, const struct shelf_token *token, enum shelf_kind kind,
                   struct shelf_item *ret_item, int *ret_fd);
/* One hold less. */
void shelf_drop(struct worker *w, const struct shelf_token *token);
/* Gives back what memory was charged: BYTES to us or, if it is SHARED, to the zone. */
void worker_uncharge(struct worker *w, uint64_t bytes, const struct shelf_token *shared);

/* --- waits.c: answers that wait for the GPU -------------------------------- */

/* A handler's result: the answer comes later. */
#define WORKER_LATER ((CUresult)0x7ffffff0)

/* A handler's result: another thread answers (host.c). */
#define WORKER_ELSEWHERE ((CUresult)0x7ffffff1)

#define MAX_WAITS        4096 /* answers outstanding */
#define MAX_WAIT_ITEMS   8192 /* events they wait for */

/* A wait's type when no client waits: a mark of share.c. */
#define WAIT_MARK 0xffffu

struct wait {
    uint64_t seq;
    uint64_t covers; /* share: work up to here is done with it; 0: nothing is known */
    uint16_t type;   /* 0: the entry is free */
    uint32_t items;
    CUresult result;
    uint32_t fixed_len; /* what the answer says besides the result */
    _Alignas(8) uint8_t fixed[64];
};

struct wait_item {
    uint32_t wait;
    uint64_t context;
    CUcontext driver_context;
    CUevent event;
    bool pooled; /* ours, to be used again */
};

struct spare_event {
    CUevent event;
    uint64_t context;
};

struct waits {
    struct wait *waits;
    struct wait_item *items;
    struct spare_event *spare;
    uint32_t n_waits; /* in use */
    uint32_t n_items;
    uint32_t n_spare;
    uint32_t last; /* the wait that was begun last */
};

/* The message at hand is answered later; then with FIXED, too. */
void worker_keep_answer(struct worker *w, const struct idm_part *fixed);
int waits_init(struct waits *q);
void waits_free(struct waits *q);
/* The answer to the message at hand shall come when STREAM has done what it was
 * given so far. WORKER_LATER, or the result right now. */
CUresult worker_wait_stream(struct worker *w, CUstream stream);
CUresult worker_wait_event(struct worker *w, CUevent event);
CUresult worker_wait_context(struct worker *w);
/* Before STREAM of CONTEXT (an id) is destroyed: what it still does counts for
 * worker_wait_context. */
CUresult worker_wait_later(struct worker *w, uint64_t context, CUstream stream);
/* Looks once at everything; true if an answer went out. */
bool worker_poll_waits(struct worker *w);
/* An event or a context is gone. */
void worker_waits_event_gone(struct worker *w, CUevent event);
void worker_waits_context_gone(struct worker *w, uint64_t context);

/* --- share.c: the zone's share of the GPU ---------------------------------- */

#define SHARE_STREAMS 8

struct share_stream {
    uint64_t context;
    CUcontext driver_context;
    CUstream stream;
};

/* Work is counted; up to where it is done tells marks, or waits of the client. */
struct share {
    uint64_t work;      /* given to the driver */
    uint64_t marked;    /* ... behind which a mark stands */
    uint64_t covered;   /* ... which some wait covers */
    uint64_t finished;  /* ... whose mark has come, though not all before it need have */
    uint64_t done;      /* ... known to be done */
    uint32_t batch;     /* work between marks */
    uint32_t marks;     /* under way */
    uint32_t n_streams; /* touched since the last mark */
    struct share_stream streams[SHARE_STREAMS];
    struct share_stream first; /* of those with work in flight; no context: none */
    bool many_streams;         /* there may be others */
    bool many_contexts;
    CUstream flying[SHARE_STREAMS]; /* all of them, while these are not too few */
    uint32_t n_flying;              /* SHARE_STREAMS + 1: they are */
    bool resting;                   /* nothing in flight is on the GPU, and so it was said */
    int64_t busy_from;              /* since when something is in flight */
    int64_t counted_to;             /* the GPU time of which is counted up to here */
    int64_t progress;               /* when a mark was last done */
    int64_t patience;               /* without progress: how long to hold work back */
};

void share_init(struct worker *w);
/* A call was counted: wakes the broker if it has stopped looking. */
void share_noted(const struct worker *w);
/* Before the message of TYPE is executed: waits until the zone may use the GPU. */
void share_before(struct worker *w, uint16_t type);
/* The message at hand is about STREAM. */
void share_touch(struct worker *w, CUstream stream);
/* What is done when STREAM (or, with ALL, the current context) has done everything so far: 0,
 * or the count for a wait's `covers`. */
uint64_t share_covers(struct worker *w, bool all, CUstream stream);
/* A wait that covers COUNT is over. */
void share_done(struct worker *w, uint64_t count, bool mark);
/* There is nothing to read: sees to it that work in flight is looked at. */
void share_rest(struct worker *w);
/* Counts what is in flight. What waits for a function of the client's is not on the GPU. */
void share_count(struct worker *w, int64_t now_ns);
/* While nothing comes in: says that the zone wants nothing while all it has in flight waits for
 * functions of the client's, and that it does again. */
void share_look(struct worker *w);
/* Before a sleep without end. True while it still says that it wants the GPU. */
bool share_wants(const struct worker *w);
void share_leave(struct worker *w);
/* waits.c: puts a mark behind all of STREAMS' work; false: nothing could be marked. */
bool worker_mark(struct worker *w, const struct share_stream *streams, uint32_t n, uint64_t covers);

/* --- host.c: functions of the client's in a stream's order ------------------- */

#define MAX_HOST_FUNCTIONS 4096 /* that streams have */

struct host_gate;
/* NULL: no memory. Before the first message. */
struct host_gate *host_gate_new(struct worker *w);
/* No stream waits for the client any more. The driver's threads may still know the gate,
 * the worker is theirs no longer. */
void host_gate_close(struct host_gate *g);
/* The completion ring has several writers: hold this for an answer. */
void host_gate_lock(struct host_gate *g);
void host_gate_unlock(struct host_gate *g);
/* With the lock: one more that is outstanding; false: there are too many. */
bool host_gate_take(struct host_gate *g);
/* With the lock: one less; host_gate_put gives the lock up, and the gate may go. */
void host_gate_release(struct host_gate *g);
void host_gate_put(struct host_gate *g);
/* With the lock, given up meanwhile: answers message SEQ; after a success, waits for the client,
 * and so does STREAM. */
void host_gate_answer(struct host_gate *g, uint64_t seq, uint16_t type, CUstream stream,
                      CUresult status);
/* Does each of STREAMS wait for the client? */
bool host_gate_holds(struct host_gate *g, const CUstream *streams, uint32_t n);

/* --- executable graphs (calls_graph.c) ---------------------------------------- */

struct worker_graph;
void worker_graph_free(struct worker *w, struct worker_graph *g);
/* Before CONTEXT ends. */
void worker_graphs_end(struct worker *w, uint64_t context);

/* --- charge.c: what code takes of the device's memory ----------------------- */

/* The device's free memory, and what of it is gone since it was BEFORE. */
uint64_t charge_look(struct worker *w);
uint64_t charge_since(struct worker *w, uint64_t before);
/* Of the zone's quota; counted when there is none left. */
CUresult charge_reserve(struct worker *w, uint64_t bytes);
/* LOADs a module and charges it. */
CUresult charge_module(struct worker *w,
                       CUresult (*load)(struct worker *w, CUmodule *ret, void *arg), void *arg,
                       CUmodule *ret_module, uint64_t *ret_charged);
/* LIBRARY took so much in the current context: pays, or nothing of it can be used there. */
CUresult charge_library(struct worker *w, struct worker_object *library, uint64_t taken,
                        uint64_t *charged);
/* Before KERNEL is used in the current context. */
CUresult charge_kernel(struct worker *w, struct worker_object *kernel);
/* The function or kernel ID, to be used in the current context: what the driver loads for
 * that is charged. Who only asks whether it is loaded has it for nothing. */
CUresult worker_find_code(struct worker *w, uint64_t id, struct worker_object **ret_code);

/* --- images (calls_module.c) ---------------------------------------------- */

#define MAX_IMAGES 4

/* The options of a load, for the driver. */
struct jit {
    CUjit_option option[IDM_MAX_OPTIONS + 4];
    void *value[IDM_MAX_OPTIONS + 4];
    unsigned n;
    unsigned info_size_at; /* where the driver puts how much it wrote; 0: not asked */
    unsigned error_size_at;
};

/* A module or library to be made from an image that went ahead. */
struct load {
    enum idm_kind kind;
    uint64_t id;
    uint32_t image;
    uint32_t info_log_bytes;
    uint32_t error_log_bytes;
    const void *options;
    uint32_t options_len;
    CUresult (*call)(struct worker *w, void **ret_driver, const void *data, struct jit *jit,
                     uint64_t *ret_charged);
    /* What came of it; the logs are in the worker. */
    CUresult result;
    uint64_t charged;
    uint32_t info_log_len;
    uint32_t error_log_len;
};

struct image;
CUresult worker_load(struct worker *w, struct load *l);
/* The client's options, numbers all, for the driver. */
CUresult worker_jit_options(struct worker *w, const void *options, uint32_t len, struct jit *jit);
/* A log of at most BYTES (0: none), LOG having IDM_MAX_LOG_BYTES; where its size will be. */
unsigned worker_jit_log(struct jit *jit, CUjit_option buffer, char *log, uint32_t bytes);

struct image;
void worker_drop_image(struct image *image);

/* The driver's attributes of FN, into w->function. */
void worker_collect_attributes(struct worker *w, CUfunction fn);
/* The layout of a function's or kernel's parameters, into w->params; how many there are.
 * *ret_bytes: what a launch must bring. */
uint32_t worker_collect_params(struct worker *w, enum idm_kind kind, void *driver,
                               uint32_t *ret_bytes);

/* What image_part has brought so far under ID; NULL: nothing. */
struct image *worker_find_image(struct worker *w, uint32_t id);
void worker_drop_image(struct image *image);

/* image.c: are all sizes within IMAGE what its BYTES hold, and is it no pointer? */
bool worker_image_valid(const void *image, uint64_t bytes);
/* A valid IMAGE as the driver takes it: itself, or a wrapper in *RET_ROOM (heap) around several
 * fatbins. NULL: no memory. */
const void *worker_image_for_driver(const void *image, uint64_t bytes, void **ret_room);

struct image {
    uint32_t id; /* 0: free */
    uint64_t bytes;
    uint64_t got;
    char *data;
};

/* --- calls_link.c ---------------------------------------------------------- */

#define MAX_LINKS 16 /* at a time */

struct link;
/* Ends the links that belong to CONTEXT, before it ends; 0: all. */
void worker_end_links(struct worker *w, uint64_t context);

/* --- the whole ------------------------------------------------------------- */

struct worker_result {
    CUresult result;
    unsigned n_parts;
    struct idm_part parts[IDM_MAX_PARTS];
    _Alignas(8) uint8_t fixed[512];
};

struct worker {
    const struct worker_config *config;
    struct worker_driver cu;
    int driver_version;
    int n_devices;
    struct page_slot *counters;

    void *ring;
    uint8_t *arena;
    struct idm_consumer in;
    struct idm_producer out;
    void *record; /* the message at hand, copied out of the ring */
    uint32_t record_room;

    bool greeted;
    bool goodbye;
    bool dead;        /* can't answer any more */
    bool shelf_lost;  /* the broker doesn't answer */
    uint64_t context; /* id of the current one; 0: none */
    CUcontext driver_context;

    struct objects objects;
    struct ranges ranges;
    struct ranges reserved; /* what mappings lie in */
    struct waits waits;
    struct host_gate *host;
    struct share share;
    struct image images[MAX_IMAGES];
    struct link *links[MAX_LINKS];

    /* The message at hand. */
    uint16_t type;
    uint64_t seq;
    bool want_reply;
    enum idm_error error;

    CUresult late; /* of queued calls, not told yet */

    /* Parts of replies. */
    char info_log[IDM_MAX_LOG_BYTES];
    char error_log[IDM_MAX_LOG_BYTES];
    struct idm_function_facts function;
    struct idm_param params[IDM_MAX_PARAMS];
    struct idm_device_facts devices[8];
    CUlaunchAttributeValue attribute;
    struct idm_zone_client clients[PAGE_SLOTS];
    char names[8192]; /* of functions; calls_query.c */
    uint8_t tensor_map[IDM_TENSOR_MAP_BYTES];
    char kernel_driver[64]; /* version of the kernel's driver; "" unknown */
};

#define WORKER_TRY(expression)                                                                     \
    do {                                                                                           \
        CUresult try_ = (expression);                                                              \
        if (try_ != CUDA_SUCCESS)                                                                  \
            return try_;                                                                           \
    } while (0)

static inline void *worker_zeroed(struct worker_result *r, size_t bytes)
{
    if (bytes > sizeof(r->fixed))
        __builtin_trap(); /* a struct of ours grew */
    memset(r->fixed, 0, bytes);
    return r->fixed;
}

/* driver.c */
int worker_load_driver(struct worker *w, struct gi_error *err);

/* hello.c: all devices' facts, fetched before the client is read. */
int worker_collect_facts(struct worker *w, struct gi_error *err);

/* serve.c */
bool worker_should_stop(struct worker *w);
int worker_serve(struct worker *w, struct gi_error *err);
void worker_answer(struct worker *w, uint64_t seq, uint16_t type, CUresult result,
                   const struct idm_part *parts, unsigned n);
/* An answer's record in the ring, with the gate locked; false: the channel is of no use. */
bool worker_publish(struct worker *w, uint64_t seq, uint16_t type, const struct idm_reply *head,
                    const struct idm_part *parts, unsigned n);
/* A record that can't be decoded: counted; for the caller INVALID_VALUE. */
CUresult worker_malformed(struct worker *w);
/* Counts a refusal, notes the wire error, says it in the log now and then. */
CUresult worker_refuse(struct worker *w, enum idm_error error, const char *what);

static inline void worker_count(_Atomic uint64_t *counter, uint64_t n)
{
    /* One writer: no read-modify-write needed. */
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

/* calls_context.c: ends every context that is left. */
void worker_end_contexts(struct worker *w);
void worker_restore_context(struct worker *w);

#endif
