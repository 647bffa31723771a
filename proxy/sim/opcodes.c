/* SPDX-License-Identifier: Apache-2.0 */
/* Every instruction the simulator knows: its form and who chooses its code. */
#include <string.h>

#include "ops.h"

#define CHOOSE(text, how, results, fn)                                                             \
    {                                                                                              \
        .name = (text), .form = (how), .ndst = (results), .select = (fn)                           \
    }
#define HINT(text)                                                                                 \
    {                                                                                              \
        .name = (text), .form = FORM_HINT                                                          \
    }
#define BEYOND(text)                                                                               \
    {                                                                                              \
        .name = (text), .form = FORM_BEYOND                                                        \
    }
#define FORMATS(text, how, results, fn)                                                            \
    {                                                                                              \
        .name = (text), .form = (how), .ndst = (results), .select = (fn), .formats = true          \
    }
#define VIDEO(text, fn)                                                                            \
    {                                                                                              \
        .name = (text), .form = FORM_PLAIN, .ndst = 1, .select = (fn), .parts = true               \
    }
#define TYPED(text, sources, table)                                                                \
    {                                                                                              \
        .name = (text), .form = FORM_PLAIN, .ndst = 1, .nsrc = (sources), .by_type = (table)       \
    }

static const struct opcode all[] = {
    /* Sorted by name: found by bisection. */
    CHOOSE("abs", FORM_PLAIN, 1, select_abs),
    CHOOSE("activemask", FORM_PLAIN, 1, select_activemask),
    CHOOSE("add", FORM_PLAIN, 1, select_add),
    CHOOSE("addc", FORM_PLAIN, 1, select_addc),
    BEYOND("alloca"),
    TYPED("and", 2, and_ops),
    HINT("applypriority"),
    CHOOSE("atom", FORM_LOAD, 1, select_atom),
    CHOOSE("bar", FORM_SOURCES, 0, select_bar),
    CHOOSE("barrier", FORM_SOURCES, 0, select_bar),
    TYPED("bfe", 3, bfe_ops),
    TYPED("bfi", 4, bfi_ops),
    CHOOSE("bfind", FORM_PLAIN, 1, select_bfind),
    CHOOSE("bra", FORM_BRANCH, 0, select_bra),
    TYPED("brev", 1, brev_ops),
    HINT("brkpt"),
    CHOOSE("brx", FORM_TABLE, 0, select_brx),
    CHOOSE("call", FORM_CALL, 0, select_call),
    BEYOND("clusterlaunchcontrol"),
    TYPED("clz", 1, clz_ops),
    TYPED("cnot", 1, cnot_ops),
    CHOOSE("copysign", FORM_PLAIN, 1, select_copysign),
    CHOOSE("cos", FORM_PLAIN, 1, select_math),
    CHOOSE("cp", FORM_COPY, 0, select_cp),
    CHOOSE("createpolicy", FORM_POLICY, 1, select_zero),
    FORMATS("cvt", FORM_PLAIN, 1, select_cvt),
    CHOOSE("cvta", FORM_PLAIN, 1, select_cvta),
    HINT("discard"),
    CHOOSE("div", FORM_PLAIN, 1, select_div),
    CHOOSE("dp2a", FORM_PLAIN, 1, select_dp2a),
    CHOOSE("dp4a", FORM_PLAIN, 1, select_dp4a),
    CHOOSE("elect", FORM_PLAIN, 1, select_elect),
    CHOOSE("ex2", FORM_PLAIN, 1, select_math),
    CHOOSE("exit", FORM_SOURCES, 0, select_exit),
    HINT("fence"),
    CHOOSE("fma", FORM_PLAIN, 1, select_fma),
    CHOOSE("getctarank", FORM_PLAIN, 1, select_getctarank),
    HINT("griddepcontrol"),
    CHOOSE("isspacep", FORM_PLAIN, 1, select_isspacep),
    BEYOND("istypep"),
    CHOOSE("ld", FORM_LOAD, 1, select_ld),
    CHOOSE("ldmatrix", FORM_LOAD, 1, select_ldmatrix),
    CHOOSE("ldu", FORM_LOAD, 1, select_ld),
    CHOOSE("lg2", FORM_PLAIN, 1, select_math),
    CHOOSE("lop3", FORM_PLAIN, 1, select_lop3),
    CHOOSE("mad", FORM_PLAIN, 1, select_mad),
    CHOOSE("mad24", FORM_PLAIN, 1, select_mad24),
    CHOOSE("madc", FORM_PLAIN, 1, select_madc),
    CHOOSE("mapa", FORM_PLAIN, 1, select_mapa),
    CHOOSE("match", FORM_PLAIN, 1, select_match),
    CHOOSE("max", FORM_PLAIN, 1, select_max),
    CHOOSE("mbarrier", FORM_BARRIER, 0, select_mbarrier),
    HINT("membar"),
    CHOOSE("min", FORM_PLAIN, 1, select_min),
    FORMATS("mma", FORM_PLAIN, 1, select_mma),
    CHOOSE("mov", FORM_PLAIN, 1, select_mov),
    CHOOSE("movmatrix", FORM_PLAIN, 1, select_movmatrix),
    CHOOSE("mul", FORM_PLAIN, 1, select_mul),
    CHOOSE("mul24", FORM_PLAIN, 1, select_mul24),
    BEYOND("multimem"),
    HINT("nanosleep"),
    CHOOSE("neg", FORM_PLAIN, 1, select_neg),
    TYPED("not", 1, not_ops),
    TYPED("or", 2, or_ops),
    HINT("pmevent"),
    TYPED("popc", 1, popc_ops),
    HINT("prefetch"),
    HINT("prefetchu"),
    CHOOSE("prmt", FORM_PLAIN, 1, select_prmt),
    CHOOSE("rcp", FORM_PLAIN, 1, select_math),
    CHOOSE("red", FORM_STORE, 0, select_atom),
    CHOOSE("redux", FORM_PLAIN, 1, select_redux),
    TYPED("rem", 2, rem_ops),
    CHOOSE("ret", FORM_SOURCES, 0, select_ret),
    CHOOSE("rsqrt", FORM_PLAIN, 1, select_math),
    TYPED("sad", 3, sad_ops),
    TYPED("selp", 3, selp_ops),
    CHOOSE("set", FORM_PLAIN, 1, select_set),
    HINT("setmaxnreg"),
    CHOOSE("setp", FORM_PLAIN, 1, select_setp),
    CHOOSE("shf", FORM_PLAIN, 1, select_shf),
    CHOOSE("shfl", FORM_PLAIN, 1, select_shfl),
    TYPED("shl", 2, shl_ops),
    TYPED("shr", 2, shr_ops),
    CHOOSE("sin", FORM_PLAIN, 1, select_math),
    CHOOSE("slct", FORM_PLAIN, 1, select_slct),
    CHOOSE("sqrt", FORM_PLAIN, 1, select_math),
    CHOOSE("st", FORM_STORE, 0, select_st),
    BEYOND("stackrestore"),
    BEYOND("stacksave"),
    CHOOSE("stmatrix", FORM_STORE, 0, select_stmatrix),
    CHOOSE("sub", FORM_PLAIN, 1, select_sub),
    CHOOSE("subc", FORM_PLAIN, 1, select_subc),
    CHOOSE("suld", FORM_LOAD, 1, select_suld),
    BEYOND("suq"),
    BEYOND("sured"),
    CHOOSE("sust", FORM_STORE, 0, select_sust),
    CHOOSE("tanh", FORM_PLAIN, 1, select_math),
    BEYOND("tcgen05"),
    BEYOND("tensormap"),
    CHOOSE("testp", FORM_PLAIN, 1, select_testp),
    CHOOSE("tex", FORM_LOAD, 1, select_tex),
    BEYOND("tld4"),
    CHOOSE("trap", FORM_SOURCES, 0, select_trap),
    BEYOND("txq"),
    VIDEO("vabsdiff", select_video),
    VIDEO("vabsdiff2", select_video_simd),
    VIDEO("vabsdiff4", select_video_simd),
    VIDEO("vadd", select_video),
    VIDEO("vadd2", select_video_simd),
    VIDEO("vadd4", select_video_simd),
    VIDEO("vavrg2", select_video_simd),
    VIDEO("vavrg4", select_video_simd),
    VIDEO("vmad", select_video_mad),
    VIDEO("vmax", select_video),
    VIDEO("vmax2", select_video_simd),
    VIDEO("vmax4", select_video_simd),
    VIDEO("vmin", select_video),
    VIDEO("vmin2", select_video_simd),
    VIDEO("vmin4", select_video_simd),
    CHOOSE("vote", FORM_PLAIN, 1, select_vote),
    VIDEO("vset", select_video_set),
    VIDEO("vset2", select_video_simd),
    VIDEO("vset4", select_video_simd),
    VIDEO("vshl", select_video_shift),
    VIDEO("vshr", select_video_shift),
    VIDEO("vsub", select_video),
    VIDEO("vsub2", select_video_simd),
    VIDEO("vsub4", select_video_simd),
    BEYOND("wgmma"),
    FORMATS("wmma.load", FORM_LOAD, 1, select_wmma_load),
    FORMATS("wmma.mma", FORM_PLAIN, 1, select_wmma_mma),
    FORMATS("wmma.store", FORM_STORE, 0, select_wmma_store),
    TYPED("xor", 2, xor_ops),
};

const struct opcode *opcode_find(const char *name, size_t len)
{
    size_t low = 0, high = sizeof(all) / sizeof(all[0]);
    while (low < high) {
        size_t mid = (low + high) / 2;
        size_t n = strlen(all[mid].name);
        int c = memcmp(name, all[mid].name, n < len ? n : len);
        if (!c && n == len)
            return &all[mid];
        if (c < 0 || (!c && len < n))
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}
