/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated driver's insides: what its handles point to, and who is
 * current where. Functions return CUDA_SUCCESS or the driver's error.
 */
#ifndef SIM_DRIVER_H
#define SIM_DRIVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exec.h"
#include "idm/cuda_abi.h"
#include "ir.h"

#define SIM_MAX_DEVICES      8
#define SIM_MAX_PEERS        16 /* contexts that one reaches */
#define SIM_LIMITS           10
#define SIM_SMS              16     /* multiprocessors a device shows */
#define SIM_REGISTERS        65536u /* of each */
#define SIM_PORTABLE_CLUSTER 8u     /* blocks of a cluster that every device has */
#define SIM_SHARED_DEFAULT   49152u /* shared memory without asking for more */
#define SIM_MAX_THREADS      1024u  /* per block */
#define SIM_MAX_PARAM_BUFFER (1u << 16)

#define TRY(call)                                                                                  \
    do {                                                                                           \
        CUresult try_rc = (call);                                                                  \
        if (try_rc != CUDA_SUCCESS)                                                                \
            return try_rc;                                                                         \
    } while (0)

struct sim_driver {
    atomic_bool ready;
    unsigned devices;
    unsigned capability; /* 10 * major + minor */
    uint64_t memory;     /* bytes per device */
    char name[128];
    unsigned cores;
    uint64_t max_steps;
    bool blocking;                 /* launches return when they are done */
    int physical[SIM_MAX_DEVICES]; /* of the devices that are seen: which ones of all they are */
};
extern struct sim_driver sim;

/* --- which devices are seen (visible.c) --- */

/* Leaves of sim.devices those that LIST, of CUDA_VISIBLE_DEVICES' form, names; NULL: all. */
void visible_read(const char *list);
/* The device that is PHYSICAL of all; -1: it isn't seen. */
int device_local(int physical);
void device_uuid(int physical, CUuuid *ret);

/* --- objects (api_object.c): what a handle points to -------------------------- */

enum object_kind {
    OBJECT_CONTEXT,
    OBJECT_STREAM,
    OBJECT_EVENT,
    OBJECT_MODULE,
    OBJECT_FUNCTION,
    OBJECT_LIBRARY,
    OBJECT_KERNEL,
    OBJECT_MEMORY,
    OBJECT_ARRAY,
    OBJECT_MIPMAP,
    OBJECT_TEXTURE,
    OBJECT_SURFACE,
    OBJECT_LINK
};

struct object {
    enum object_kind kind;
    atomic_uint refs;
    struct object *next;
    struct CUctx_st *context; /* a reference; NULL: it is one, or no context's */
    void (*free)(struct object *o);
};

/* A zeroed object of BYTES with one reference, the caller's; NULL: no memory. */
void *object_new(enum object_kind kind, size_t bytes, struct CUctx_st *context,
                 void (*free_it)(struct object *o));
void object_hold(struct object *o);
void object_put(struct object *o);
/* From now on a handle of the API, which takes over the caller's reference: O may be gone
 * on return. */
void object_publish(struct object *o);
/* The live object behind HANDLE, held; NULL: there is none of that kind. */
void *object_find(enum object_kind kind, const void *handle);
/* Ends the handle. False: another thread was first. */
bool object_kill(struct object *o);
/* Ends all handles of CONTEXT's objects and, with MODULE, just that module's functions. */
void object_kill_all(const struct CUctx_st *context, const struct CUmod_st *module);
/* Ends the handles of LIBRARY's kernels. */
void object_kill_kernels(const struct CUlib_st *library);

#define PUT(type)                                                                                  \
    static inline void put_##type(struct type **p)                                                 \
    {                                                                                              \
        if (*p)                                                                                    \
            object_put((struct object *)*p);                                                       \
    }

struct CUctx_st {
    struct object o;
    uint64_t id; /* no other context has or had it */
    int device;
    bool primary;
    unsigned flags;
    atomic_bool dead;
    _Atomic CUresult error; /* sticky: a kernel's fault */
    struct CUstream_st *legacy;
    atomic_size_t limits[SIM_LIMITS]; /* one more than the value; 0: there is no such limit */
    _Atomic CUfunc_cache cache;
    _Atomic(struct CUctx_st *) peers[SIM_MAX_PEERS]; /* references; whose memory it reaches */
    atomic_bool reached;                             /* it is or was another's peer */
};

struct CUmod_st {
    struct object o;
    struct sim_module *code;
    bool of_library; /* which unloads it */
    pthread_mutex_t lock;
    struct CUfunc_st **function; /* by the code's index; theirs ends with the module; NULL: not
                                    asked for */
};

/* What can be set of a function. */
struct function_settings {
    atomic_uint max_dynamic;  /* shared memory a launch may ask for */
    atomic_bool non_portable; /* its clusters may be larger than every device has them */
};

struct CUfunc_st {
    struct object o;
    struct CUmod_st *module; /* a reference */
    const struct sim_func *code;
    struct function_settings set;
};

/* A library's module in one context, made when it is first needed there. */
struct lib_instance {
    struct lib_instance *next;
    struct CUmod_st *module;      /* a reference */
    struct CUfunc_st *function[]; /* references, by the code's index; NULL: not asked for */
};

struct CUlib_st {
    struct object o;
    pthread_mutex_t lock;
    char *text; /* the PTX */
    size_t len;
    struct sim_module *code; /* what is in it; runs nowhere */
    struct lib_instance *instances;
    bool gone; /* unloaded: no new instance */
};

struct CUkern_st {
    struct object o;
    struct CUlib_st *library;                      /* a reference */
    const struct sim_func *code;                   /* in the library's */
    struct function_settings set[SIM_MAX_DEVICES]; /* what its functions begin with */
};

/* Where processes tell each other of an event (board.h). */
struct board_place {
    struct board *board; /* a reference; NULL: it is this process's alone */
    unsigned slot;
    uint64_t id; /* no other event of the board's process has or had it */
};

struct CUevent_st {
    struct object o;
    unsigned flags;
    bool opened; /* another process's */
    /* Under the scheduler's lock: */
    struct point *point;      /* its last recording */
    struct board_place place; /* where other processes learn of it, once it has one */
    uint64_t number;          /* there: the point's */
};

PUT(CUctx_st)
PUT(CUstream_st)
PUT(CUmod_st)
PUT(CUfunc_st)
PUT(CUevent_st)
PUT(CUlib_st)
PUT(CUkern_st)
#define PUT_LATER(type) __attribute__((cleanup(put_##type))) struct type

/* --- the calling thread (api_thread.c) ---------------------------------------- */

/* NOT_INITIALIZED before cuInit, and in a fork's child; NOT_PERMITTED in a stream's function. */
CUresult sim_enter(void);
/* Between the two the calling thread runs a function of the program's in a stream: all calls
 * are NOT_PERMITTED. */
void sim_callback_begins(void);
void sim_callback_ends(void);
/* The current context, which stays while it is current; its sticky error. */
CUresult sim_context(struct CUctx_st **ret_context);
/* STREAM, held: NULL, legacy and per-thread ones resolved for CONTEXT. It may be another context's:
 * to be asked and waited for (CUDA Programming Guide, "Stream and Event Behavior"). */
CUresult sim_any_stream(CUstream stream, struct CUctx_st *context, struct CUstream_st **ret_stream);
/* Another context's is an INVALID_HANDLE. */
CUresult sim_stream(CUstream stream, struct CUctx_st *context, struct CUstream_st **ret_stream);
/* The context stack. Contexts on it are held. */
struct CUctx_st *thread_top(void);
CUresult thread_push(struct CUctx_st *context);
void thread_pop(void);
CUresult thread_init(void);

/* --- contexts (api_context.c) ------------------------------------------------- */

/* What programs know C by. */
CUcontext context_handle(const struct CUctx_st *c);
/* DEVICE's primary context if there is one, held. */
struct CUctx_st *context_life(int device);
/* The live context behind HANDLE, held; NULL: there is none. */
struct CUctx_st *context_find(CUcontext handle);
CUresult context_new(int device, unsigned flags, bool primary, struct CUctx_st **ret_context);
/* Waits for its work, frees what it has. INVALID_CONTEXT: another thread was first. */
CUresult context_destroy(struct CUctx_st *context);

/* --- peers (api_peer.c) --------------------------------------------------------- */

/* May C's kernels use the memory of the context WHOSE? Takes no lock. */
bool peers_reach(const struct CUctx_st *c, const void *whose);
/* C ends: it reaches nobody any more. */
void peers_end(struct CUctx_st *c);

/* --- modules, functions, kernels (api_module.c, api_library.c) ----------------- */

struct jit_log {
    char *text;
    size_t room;
    void **ret_used;
};

struct jit {
    struct jit_log info, error;
};

CUresult jit_options(struct jit *jit, unsigned n, const CUjit_option *options, void **values);
void jit_write(const struct jit_log *log, const char *text);
/* What the caller hears of RC. Why it was, in LOG, goes to stderr when there is no buffer for it.
 */
void jit_answer(const struct jit *jit, CUresult rc, const struct sim_log *log);

struct image;
/* The PTX in what a program calls an image. */
CUresult image_find(const void *data, struct image *ret_image);
CUresult image_parse(const struct image *image, struct sim_module **ret_code, struct sim_log *log);
/* Is it PTX, but for what other texts may define? */
CUresult image_check_part(const struct image *image, struct sim_log *log);
/* Is everything defined that CODE refers to? */
CUresult image_complete(const struct sim_module *code, struct sim_log *log);
/* A file's content and 16 bytes of zeros, heap. */
CUresult image_file(const char *path, char **ret_data, size_t *ret_bytes);
/* IMAGE's code with its variables in C's memory, but for managed ones that SHARED (NULL: none;
 * of the same image) has already; one reference, the caller's; published. */
CUresult module_load(struct CUctx_st *c, const struct image *image, const struct sim_module *shared,
                     struct CUmod_st **ret_module, struct sim_log *log);
/* Waits for C's work, then ends the module's handles and its variables. */
void module_unload(struct CUctx_st *c, struct CUmod_st *m);
/* One reference, the caller's; not published. NULL: no memory. */
struct CUfunc_st *function_new(struct CUctx_st *c, struct CUmod_st *m, const struct sim_func *code);
/* Dynamic shared memory that a launch may ask for without a word before. */
unsigned function_dynamic(const struct sim_func *code);

/* KERNEL's function in C, held; loads the library there. */
CUresult kernel_function(struct CUkern_st *kernel, struct CUctx_st *c, struct CUfunc_st **ret);
/* A function of C, or a kernel's in C; held. */
CUresult function_find(struct CUctx_st *c, const void *handle, struct CUfunc_st **ret);
/* Threads a block of it may have. */
/*
 * What ptxas might have made of the PTX's registers, of which each value has one: no more
 * than let the largest block run.
 */
unsigned function_registers(const struct sim_func *f);
int function_max_threads(const struct sim_func *code);
/* Blocks of so many threads and so much dynamic shared memory that a multiprocessor holds. */
unsigned function_blocks(const struct sim_func *code, unsigned threads, size_t dynamic);
/* What a new context's limits are (api_limits.c). */
void limits_init(struct CUctx_st *c);
CUresult function_attribute(const struct sim_func *code, const struct sim_module *module,
                            const struct function_settings *set, CUfunction_attribute attrib,
                            int *value);
/* Can ATTRIB be set to VALUE? Then function_set does. */
CUresult function_check_setting(const struct sim_func *code, CUfunction_attribute attrib,
                                int value);
void function_set(struct function_settings *set, CUfunction_attribute attrib, int value);
/* Blocks that a cluster of F's may have. */
unsigned function_max_cluster(const struct CUfunc_st *f);

/* Shared memory a function has before a launch adds any. */
static inline unsigned static_shared(const struct sim_func *f)
{
    return (f->shared_bytes + 15) & ~15u;
}

/* --- textures (api_texture.c): struct sim_memory's ------------------------------ */

struct sim_texture;
const struct sim_texture *texture_find(void *context, uint64_t handle, bool surface);

/* --- images ------------------------------------------------------------------- */

struct image {
    const char *text; /* PTX */
    size_t len;
    char *owned; /* the text's memory, where it was compressed; for free() */
};

/* fatbin.c: the best PTX in what DATA points to: a fatbin or its wrapper.
 * INVALID_IMAGE: it is neither; NO_BINARY_FOR_GPU: nothing in it can run here. */
CUresult fatbin_find(const void *data, struct image *ret_image);
/* The same for a fatbin of at most LEN bytes. */
CUresult fatbin_parse(const uint8_t *data, uint64_t len, struct image *ret_image);

#endif
