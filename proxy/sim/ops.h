/* SPDX-License-Identifier: Apache-2.0 */
/* The instructions' choosers and tables, by file; opcodes.c puts names to them. */
#ifndef SIM_OPS_H
#define SIM_OPS_H

#include "build.h"

/* ops_control.c */
op_fn select_bra(struct build *b);
op_fn select_brx(struct build *b);
op_fn select_call(struct build *b);
op_fn select_ret(struct build *b);
op_fn select_exit(struct build *b);
op_fn select_trap(struct build *b);
op_fn select_nothing(struct build *b);
op_fn select_zero(struct build *b);
void op_beyond(struct warp *w, const struct insn *in, uint32_t mask);

/* ops_warp.c */
op_fn select_bar(struct build *b);
op_fn select_activemask(struct build *b);
op_fn select_vote(struct build *b);
op_fn select_shfl(struct build *b);
op_fn select_match(struct build *b);
op_fn select_redux(struct build *b);
op_fn select_elect(struct build *b);

/* ops_memory.c */
op_fn select_ld(struct build *b);
op_fn select_st(struct build *b);
op_fn select_cvta(struct build *b);
op_fn select_isspacep(struct build *b);
/* ops_copy.c */
op_fn select_cp(struct build *b);
/* ops_cluster.c */
op_fn select_cluster_barrier(struct build *b);
op_fn select_mapa(struct build *b);
op_fn select_getctarank(struct build *b);
/* ops_mbarrier.c */
op_fn select_mbarrier(struct build *b);
op_fn select_copies_arrive(struct build *b);
/* ops_texture.c */
op_fn select_tex(struct build *b);
op_fn select_suld(struct build *b);
op_fn select_sust(struct build *b);
/* ops_atomic.c */
op_fn select_atom(struct build *b);

/* ops_int.c */
op_fn select_add(struct build *b); /* float: ops_float.c */
op_fn select_sub(struct build *b);
op_fn select_mul(struct build *b);
op_fn select_mad(struct build *b);
op_fn select_addc(struct build *b);
op_fn select_subc(struct build *b);
op_fn select_madc(struct build *b);
op_fn select_div(struct build *b);
op_fn select_min(struct build *b);
op_fn select_max(struct build *b);
op_fn select_abs(struct build *b);
op_fn select_neg(struct build *b);
extern const op_fn rem_ops[T_COUNT], sad_ops[T_COUNT];

/* ops_bits.c */
extern const op_fn and_ops[T_COUNT], or_ops[T_COUNT], xor_ops[T_COUNT], not_ops[T_COUNT],
    cnot_ops[T_COUNT], shl_ops[T_COUNT], shr_ops[T_COUNT], popc_ops[T_COUNT], clz_ops[T_COUNT],
    brev_ops[T_COUNT], bfe_ops[T_COUNT], bfi_ops[T_COUNT], selp_ops[T_COUNT];
op_fn select_mov(struct build *b);
op_fn select_shf(struct build *b);
op_fn select_lop3(struct build *b);
op_fn select_prmt(struct build *b);
op_fn select_bfind(struct build *b);
op_fn select_slct(struct build *b);
op_fn select_dp2a(struct build *b);
op_fn select_dp4a(struct build *b);
op_fn select_mul24(struct build *b);
op_fn select_mad24(struct build *b);

/* ops_float.c: NULL when the type is none of theirs. */
op_fn float_add(struct build *b);
op_fn float_sub(struct build *b);
op_fn float_mul(struct build *b);
op_fn float_min(struct build *b);
op_fn float_max(struct build *b);
op_fn float_abs(struct build *b);
op_fn float_neg(struct build *b);
op_fn float_div(struct build *b);
op_fn select_fma(struct build *b);
op_fn select_math(struct build *b); /* rcp sqrt rsqrt sin cos lg2 ex2 tanh */
op_fn select_copysign(struct build *b);
op_fn select_testp(struct build *b);

/* ops_compare.c */
op_fn select_setp(struct build *b);
op_fn select_set(struct build *b);

/* ops_matrix.c */
op_fn select_mma(struct build *b);
/* ops_tile.c */
op_fn select_ldmatrix(struct build *b);
op_fn select_stmatrix(struct build *b);
op_fn select_movmatrix(struct build *b);
/* ops_wmma.c */
op_fn select_wmma_load(struct build *b);
op_fn select_wmma_mma(struct build *b);
op_fn select_wmma_store(struct build *b);
/* ops_video.c */
op_fn select_video(struct build *b);
op_fn select_video_shift(struct build *b);
op_fn select_video_mad(struct build *b);
op_fn select_video_set(struct build *b);
op_fn select_video_simd(struct build *b);

/* ops_formats.c: cvt where one side is a format of pairs, tf32, or has .relu or .satfinite. */
op_fn select_format(struct build *b);

/* ops_convert.c */
op_fn select_cvt(struct build *b);

#endif
