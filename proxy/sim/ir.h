/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module after parsing: instructions with resolved register slots and branch
 * targets, ready for exec.h. Everything hangs in the module's arena and goes
 * with it. Immutable after sim_module_finish(): shared by all threads.
 */
#ifndef SIM_IR_H
#define SIM_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_WARP            32u
#define SIM_MAX_TEXT        (256u << 20) /* bytes of PTX: all of NCCL is 130 MiB */
#define SIM_MAX_ARENA       (2ull << 30) /* bytes a module may take */
#define SIM_MAX_REGS        65536u       /* registers in use per function */
#define SIM_MAX_CONSTS      65536u       /* different immediates per function */
#define SIM_MAX_INSNS       (1u << 20)   /* per function */
#define SIM_MAX_LABELS      65536u       /* per function */
#define SIM_MAX_FUNCS       4096u
#define SIM_MAX_VARS        65536u
#define SIM_MAX_SHARED_VARS 16384u
#define SIM_MAX_PARAMS      1024u
#define SIM_MAX_PARAM_SIZE  32764u /* bytes of a kernel's parameters: PTX 8.1 */
#define SIM_MAX_SHARED      (227u << 10)
#define SIM_RESERVED        1024u        /* bytes of shared memory that are the system's */
#define SIM_MAX_LOCAL       (512u << 10) /* bytes per thread, over all frames */
#define SIM_MAX_GLOBAL      (1u << 30)   /* bytes of one module variable */
#define SIM_MAX_CLUSTER     16u          /* blocks of a cluster */
#define SIM_MAX_CALLS       64u          /* call depth */
#define SIM_MAX_SPECIAL     10u          /* sources that can be more than registers and constants */

/* Generic addresses: windows far above every device and host address. */
#define SIM_WINDOW_SHIFT 56
#define SIM_SHARED_BASE  (1ull << SIM_WINDOW_SHIFT)
/* Another block of the cluster: its rank + 1 above the offset; 0 is the own one's. */
#define SIM_RANK_SHIFT 24
#define SIM_LOCAL_BASE (2ull << SIM_WINDOW_SHIFT)
#define SIM_PARAM_BASE (3ull << SIM_WINDOW_SHIFT)
/* A function's address: SIM_CODE_BASE + SIM_CODE_STEP * its index. */
#define SIM_CODE_BASE (4ull << SIM_WINDOW_SHIFT)
#define SIM_CODE_STEP 16u

enum sim_type {
    T_NONE,
    T_PRED,
    T_B8,
    T_U8,
    T_S8,
    T_B16,
    T_U16,
    T_S16,
    T_F16,
    T_BF16,
    T_B32,
    T_U32,
    T_S32,
    T_F32,
    T_F16X2,
    T_BF16X2,
    T_B64,
    T_U64,
    T_S64,
    T_F64,
    /* What only conversions and matrices know; registers and memory hold it as bits. */
    T_TF32,
    T_E4M3,
    T_E5M2,
    T_E4M3X2,
    T_E5M2X2,
    T_E2M1X2,
    T_E2M3X2,
    T_E3M2X2,
    T_UE8M0X2,
    T_S4,
    T_U4,
    T_B1,
    T_COUNT
};

/* What an instruction's dots may say besides types. */
/* clang-format off */
#define SIM_MODIFIERS(X)                                                                          \
    X(ROUND_RN, "rn") X(ROUND_RZ, "rz") X(ROUND_RM, "rm") X(ROUND_RP, "rp") X(ROUND_RNA, "rna")   \
    X(RNI, "rni") X(RZI, "rzi") X(RMI, "rmi") X(RPI, "rpi") X(SAT, "sat") X(FTZ, "ftz")           \
    X(APPROX, "approx") X(FULL, "full") X(LO, "lo") X(HI, "hi") X(WIDE, "wide") X(CC, "cc")       \
    X(EQ, "eq") X(NE, "ne") X(LT, "lt") X(LE, "le") X(GT, "gt") X(GE, "ge") X(LS, "ls")           \
    X(HS, "hs") X(EQU, "equ") X(NEU, "neu") X(LTU, "ltu") X(LEU, "leu") X(GTU, "gtu")             \
    X(GEU, "geu") X(NUM, "num") X(NAN_, "nan") X(NAN_CAP, "NaN") X(AND, "and") X(OR, "or")        \
    X(XOR, "xor") X(ADD, "add") X(MIN, "min") X(MAX, "max") X(EXCH, "exch") X(CAS, "cas")         \
    X(INC, "inc") X(DEC, "dec") X(POPC, "popc") X(GLOBAL, "global") X(SHARED, "shared")           \
    X(SHARED_CTA, "shared::cta") X(LOCAL, "local") X(CONST, "const") X(PARAM, "param")            \
    X(PARAM_FUNC, "param::func") X(PARAM_ENTRY, "param::entry") X(TO, "to") X(V2, "v2")           \
    X(V4, "v4") X(UNI, "uni") X(UP, "up") X(DOWN, "down") X(BFLY, "bfly") X(IDX, "idx")           \
    X(ALL, "all") X(ANY, "any") X(BALLOT, "ballot") X(SYNC, "sync") X(ARRIVE, "arrive")           \
    X(RED, "red") X(WARP, "warp") X(ALIGNED, "aligned") X(CTA, "cta") X(GPU, "gpu")               \
    X(SYS, "sys") X(GL, "gl") X(CLUSTER, "cluster") X(SC, "sc") X(ACQ_REL, "acq_rel")             \
    X(RELAXED, "relaxed") X(ACQUIRE, "acquire") X(RELEASE, "release") X(VOLATILE, "volatile")     \
    X(WEAK, "weak") X(MMIO, "mmio") X(NC, "nc") X(CA, "ca") X(CG, "cg") X(CS, "cs") X(LU, "lu")   \
    X(CV, "cv") X(WB, "wb") X(WT, "wt") X(SHIFTAMT, "shiftamt") X(F4E, "f4e") X(B4E, "b4e")       \
    X(RC8, "rc8") X(ECL, "ecl") X(ECR, "ecr") X(RC16, "rc16") X(LEFT, "l") X(RIGHT, "r")          \
    X(CLAMP, "clamp") X(WRAP, "wrap") X(FINITE, "finite") X(INFINITE, "infinite")                 \
    X(NUMBER, "number") X(NOTANUMBER, "notanumber") X(NORMAL, "normal")                           \
    X(SUBNORMAL, "subnormal") X(L1_EVICT_NORMAL, "L1::evict_normal")                              \
    X(L1_EVICT_LAST, "L1::evict_last") X(L1_EVICT_FIRST, "L1::evict_first")                       \
    X(L1_NO_ALLOCATE, "L1::no_allocate") X(L2_64B, "L2::64B") X(L2_128B, "L2::128B")              \
    X(L2_256B, "L2::256B") X(NOFTZ, "noftz") X(1D, "1d") X(2D, "2d") X(3D, "3d") X(A1D, "a1d")     \
    X(A2D, "a2d") X(TRAP, "trap") X(ZERO, "zero") X(LEVEL, "level") X(B, "b")     \
    X(V8, "v8") X(SHARED_CLUSTER, "shared::cluster") X(CACHE_HINT, "L2::cache_hint")              \
    X(ASYNC, "async") X(COMMIT_GROUP, "commit_group") X(WAIT_GROUP, "wait_group")                 \
    X(WAIT_ALL, "wait_all") X(MBARRIER, "mbarrier") X(NOINC, "noinc") X(INIT, "init")             \
    X(INVAL, "inval") X(ARRIVE_DROP, "arrive_drop") X(EXPECT_TX, "expect_tx")                     \
    X(COMPLETE_TX, "complete_tx") X(TEST_WAIT, "test_wait") X(TRY_WAIT, "try_wait")               \
    X(PARITY, "parity") X(PENDING_COUNT, "pending_count") X(NOCOMPLETE, "noComplete")           \
    X(WAIT, "wait") \
    X(RELU, "relu") X(SATFINITE, "satfinite") X(XORSIGN, "xorsign") X(ABS, "abs") X(ROW, "row")   \
    X(COL, "col") X(TRANS, "trans") X(X1, "x1") X(X2, "x2") X(X4, "x4") X(A, "a") X(C, "c")       \
    X(D, "d") X(PO, "po") X(SHR7, "shr7") X(SHR15, "shr15") X(PACK, "pack")
/* clang-format on */

enum sim_modifier {
#define X(id, text) M_##id,
    SIM_MODIFIERS(X)
#undef X
        M_COUNT
};

enum sim_space {
    SPACE_GENERIC,
    SPACE_GLOBAL,
    SPACE_SHARED,
    SPACE_LOCAL,
    SPACE_CONST, /* lives in global memory; its addresses are generic ones */
    SPACE_PARAM, /* a kernel's parameters; a function's are local memory */
};

enum sim_sreg {
    SR_TID_X,
    SR_TID_Y,
    SR_TID_Z,
    SR_NTID_X,
    SR_NTID_Y,
    SR_NTID_Z,
    SR_CTAID_X,
    SR_CTAID_Y,
    SR_CTAID_Z,
    SR_NCTAID_X,
    SR_NCTAID_Y,
    SR_NCTAID_Z,
    SR_LANEID,
    SR_WARPID,
    SR_NWARPID,
    SR_SMID,
    SR_NSMID,
    SR_GRIDID,
    SR_CLOCK,
    SR_CLOCK_HI,
    SR_CLOCK64,
    SR_GLOBALTIMER,
    SR_LANEMASK_EQ,
    SR_LANEMASK_LT,
    SR_LANEMASK_LE,
    SR_LANEMASK_GT,
    SR_LANEMASK_GE,
    SR_DYNAMIC_SMEM_SIZE,
    SR_TOTAL_SMEM_SIZE,
    SR_ENVREG,  /* all others read 0 */
    SR_ENVREG1, /* where the blocks of a cooperative launch meet: the upper half ... */
    SR_ENVREG2, /* ... the lower one */
    SR_CLUSTERID_X,
    SR_CLUSTERID_Y,
    SR_CLUSTERID_Z,
    SR_NCLUSTERID_X,
    SR_NCLUSTERID_Y,
    SR_NCLUSTERID_Z,
    SR_CLUSTER_CTAID_X,
    SR_CLUSTER_CTAID_Y,
    SR_CLUSTER_CTAID_Z,
    SR_CLUSTER_NCTAID_X,
    SR_CLUSTER_NCTAID_Y,
    SR_CLUSTER_NCTAID_Z,
    SR_CLUSTER_CTARANK,
    SR_CLUSTER_NCTARANK,
    SR_IS_CLUSTER,
    SR_RESERVED, /* where the system's shared memory begins: behind the kernel's */
    SR_RESERVED_END,
    SR_DYNAMIC_BASE, /* no name: where dynamic shared memory begins */
    SR_COUNT
};

struct warp;
struct insn;
typedef void (*op_fn)(struct warp *w, const struct insn *in, uint32_t mask);

enum operand_kind {
    O_NONE,
    O_REG,   /* slot: the register's row */
    O_CONST, /* slot: a row of the function's constants */
    O_SREG,  /* slot: enum sim_sreg */
    O_LOCAL, /* value: offset in the frame's local memory */
    O_SINK,  /* _ : a destination that is dropped, a source of zeros */
};

/* .b0 to .b3, .h0, .h1 */
enum operand_part { PART_ALL, PART_B0, PART_B3 = PART_B0 + 3, PART_H0, PART_H1 };

struct operand {
    uint8_t kind;
    bool neg;       /* a predicate's ! */
    bool narrow;    /* a 32-bit register used as an address */
    bool predicate; /* a register of predicates */
    uint8_t part;   /* video instructions: which byte or half; enum operand_part */
    uint32_t slot;
    uint64_t value;
};

struct insn {
    op_fn fn;
    op_fn inner;   /* what a wrapping fn (rounding) calls */
    int32_t guard; /* predicate's slot; -1: none */
    bool guard_neg;
    uint8_t type, type2;
    uint8_t space, vec, mode; /* mode: the opcode's own */
    uint8_t bool_op, round;
    bool ftz, sat, relu;
    uint8_t ndst, nsrc;
    uint32_t target; /* bra: instruction; call: function */
    uint32_t line;
    int64_t offset;      /* of an address operand */
    int64_t offset2;     /* ... of a second one */
    const char *text;    /* of an instruction that is beyond the simulator */
    struct operand *dst; /* ndst of them, and to two O_NONE: the second one can be left out */
    struct operand *src; /* nsrc of them */
    struct call_args *call;
    const struct matrix *matrix; /* matrix.h */
    uint32_t *targets;           /* brx.idx: ntargets instructions */
    uint32_t ntargets;
};

/* A call's arguments: from the caller's place to the callee's. */
struct call_arg {
    struct operand from; /* O_LOCAL: a .param variable; or a register, constant */
    uint32_t size;
};

/* A call through a pointer: insn.target, the pointer is src[0]. */
#define SIM_INDIRECT UINT32_MAX

struct call_args {
    struct call_arg *in, *out;
    uint32_t nin, nout;
};

struct sim_param {
    uint32_t offset, size;
    int32_t slot; /* a .reg parameter's register; -1: memory */
};

struct sim_func {
    const char *name;
    bool entry, defined, ext;
    uint32_t index, line;
    struct insn *code;
    uint32_t ncode;
    uint32_t nregs;
    uint64_t *consts; /* nconsts rows of 32 */
    uint32_t nconsts;
    struct sim_param *params, *rets;
    uint32_t nparams, nrets;
    uint32_t param_bytes;  /* entry */
    uint32_t local_bytes;  /* a frame's, per thread; params and rets of functions included */
    uint32_t shared_bytes; /* entry: static ones, of what it calls, too */
    uint32_t max_threads;  /* .maxntid, .reqntid; 0: not said */
    uint32_t cluster[3];   /* .reqnctapercluster; 0: not said */
    uint32_t builtin;      /* an .extern of the CUDA device runtime; 0: none */
};

enum sim_builtin { BUILTIN_NONE, BUILTIN_ASSERTFAIL, BUILTIN_VPRINTF };

/* A module variable in global (or const) memory. */
struct sim_var {
    const char *name;
    uint64_t size;
    uint32_t align;
    bool is_const, managed, ext;
    bool foreign;  /* its memory is the library's, not the module's */
    uint8_t *init; /* init_len bytes, the rest is zero; NULL: all zero */
    uint64_t init_len;
    uint64_t address; /* set by sim_module_link */
};

/* An address that is known only when the variables are placed. */
struct sim_reloc {
    struct sim_func *func; /* its constant `index`; NULL: variable `index`'s bytes at `at` */
    uint32_t index, var;
    uint64_t at;
    uint64_t addend;
    uint32_t size;
};

struct arena_block;

struct sim_module {
    struct arena_block *blocks;
    size_t arena_used;
    struct sim_func **funcs;
    uint32_t nfuncs;
    struct sim_var *vars;
    uint32_t nvars, vars_cap;
    struct sim_reloc *relocs;
    uint32_t nrelocs, relocs_cap;
    uint32_t ptx_version; /* 64: 6.4 */
    uint32_t target;      /* 50: sm_50 */
    bool reserved;        /* a function wants the system's shared memory */
};

/* What went wrong, for the user. */
struct sim_log {
    char text[512];
    bool unsupported_version, no_memory;
};

/*
 * Parses LEN bytes of PTX (hostile) into a new module; sim_module_free() it.
 * Returns 0, or -1 with the reason in LOG. Thread-safe.
 */
int sim_parse(const char *text, size_t len, struct sim_module **ret_module, struct sim_log *log);
/* The same for a text that is to be linked: what it calls may be another's. It can't run. */
int sim_parse_part(const char *text, size_t len, struct sim_module **ret_module,
                   struct sim_log *log);
/* All vars[].address are set: writes them where they are used (and into vars[].init). */
void sim_module_link(struct sim_module *m);
struct sim_func *sim_module_func(struct sim_module *m, const char *name);
struct sim_var *sim_module_var(struct sim_module *m, const char *name);
void sim_module_free(struct sim_module *m);

/* Zeroed memory of the module; NULL when its limit or the machine's is reached. */
void *sim_arena(struct sim_module *m, size_t bytes);

static inline unsigned type_size(uint8_t t)
{
    static const uint8_t sizes[T_COUNT] = {
        [T_PRED] = 1,   [T_B8] = 1,     [T_U8] = 1,      [T_S8] = 1,     [T_B16] = 2,
        [T_U16] = 2,    [T_S16] = 2,    [T_F16] = 2,     [T_BF16] = 2,   [T_B32] = 4,
        [T_U32] = 4,    [T_S32] = 4,    [T_F32] = 4,     [T_F16X2] = 4,  [T_B64] = 8,
        [T_U64] = 8,    [T_S64] = 8,    [T_F64] = 8,     [T_BF16X2] = 4, [T_TF32] = 4,
        [T_E4M3] = 1,   [T_E5M2] = 1,   [T_E4M3X2] = 2,  [T_E5M2X2] = 2, [T_E2M1X2] = 1,
        [T_E2M3X2] = 2, [T_E3M2X2] = 2, [T_UE8M0X2] = 2, [T_S4] = 1,     [T_U4] = 1,
        [T_B1] = 1};
    return t < T_COUNT ? sizes[t] : 0;
}

/* Of integers: all bits of the type. */
static inline uint64_t type_mask(uint8_t t)
{
    unsigned size = type_size(t);
    return size == 0 || size >= 8 ? ~0ull : (1ull << (8 * size)) - 1;
}

static inline bool type_float(uint8_t t)
{
    return t == T_F16 || t == T_BF16 || t == T_F32 || t == T_F64;
}

/* Two halves in a register of 32 bits. */
static inline bool type_pair(uint8_t t)
{
    return t == T_F16X2 || t == T_BF16X2;
}

static inline bool type_signed(uint8_t t)
{
    return t == T_S8 || t == T_S16 || t == T_S32 || t == T_S64;
}

#endif
