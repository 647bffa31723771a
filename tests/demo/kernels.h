/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The demo's kernels in PTX, written by hand: vector add, saxpy, a block
 * reduction through shared memory, a tiled matrix multiply; the last two for
 * float and int. Sums are taken in one fixed order, so that the CPU can
 * compute the same bits.
 */
#ifndef DEMO_KERNELS_H
#define DEMO_KERNELS_H

#define PTX_HEADER                                                                                 \
    ".version 6.4\n"                                                                               \
    ".target sm_50\n"                                                                              \
    ".address_size 64\n"

/* void vec_add(const float *a, const float *b, float *c, unsigned n): c = a + b */
#define PTX_VEC_ADD                                                                                \
    ".visible .entry vec_add(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u32 pn)\n"    \
    "{\n"                                                                                          \
    "  .reg .pred %p<2>;\n"                                                                        \
    "  .reg .f32 %f<4>;\n"                                                                         \
    "  .reg .b32 %r<6>;\n"                                                                         \
    "  .reg .b64 %rd<11>;\n"                                                                       \
    "  ld.param.u64 %rd1, [pa];\n"                                                                 \
    "  ld.param.u64 %rd2, [pb];\n"                                                                 \
    "  ld.param.u64 %rd3, [pc];\n"                                                                 \
    "  ld.param.u32 %r2, [pn];\n"                                                                  \
    "  mov.u32 %r3, %ctaid.x;\n"                                                                   \
    "  mov.u32 %r4, %ntid.x;\n"                                                                    \
    "  mov.u32 %r5, %tid.x;\n"                                                                     \
    "  mad.lo.s32 %r1, %r3, %r4, %r5;\n"                                                           \
    "  setp.ge.u32 %p1, %r1, %r2;\n"                                                               \
    "  @%p1 bra DONE;\n"                                                                           \
    "  cvta.to.global.u64 %rd4, %rd1;\n"                                                           \
    "  cvta.to.global.u64 %rd5, %rd2;\n"                                                           \
    "  cvta.to.global.u64 %rd6, %rd3;\n"                                                           \
    "  mul.wide.u32 %rd7, %r1, 4;\n"                                                               \
    "  add.s64 %rd8, %rd4, %rd7;\n"                                                                \
    "  add.s64 %rd9, %rd5, %rd7;\n"                                                                \
    "  add.s64 %rd10, %rd6, %rd7;\n"                                                               \
    "  ld.global.f32 %f1, [%rd8];\n"                                                               \
    "  ld.global.f32 %f2, [%rd9];\n"                                                               \
    "  add.f32 %f3, %f1, %f2;\n"                                                                   \
    "  st.global.f32 [%rd10], %f3;\n"                                                              \
    "DONE:\n"                                                                                      \
    "  ret;\n"                                                                                     \
    "}\n"

/* void saxpy(float a, const float *x, float *y, unsigned n): y = a * x + y */
#define PTX_SAXPY                                                                                  \
    ".visible .entry saxpy(.param .f32 pa, .param .u64 px, .param .u64 py, .param .u32 pn)\n"      \
    "{\n"                                                                                          \
    "  .reg .pred %p<2>;\n"                                                                        \
    "  .reg .f32 %f<5>;\n"                                                                         \
    "  .reg .b32 %r<6>;\n"                                                                         \
    "  .reg .b64 %rd<8>;\n"                                                                        \
    "  ld.param.f32 %f1, [pa];\n"                                                                  \
    "  ld.param.u64 %rd1, [px];\n"                                                                 \
    "  ld.param.u64 %rd2, [py];\n"                                                                 \
    "  ld.param.u32 %r2, [pn];\n"                                                                  \
    "  mov.u32 %r3, %ctaid.x;\n"                                                                   \
    "  mov.u32 %r4, %ntid.x;\n"                                                                    \
    "  mov.u32 %r5, %tid.x;\n"                                                                     \
    "  mad.lo.s32 %r1, %r3, %r4, %r5;\n"                                                           \
    "  setp.ge.u32 %p1, %r1, %r2;\n"                                                               \
    "  @%p1 bra DONE;\n"                                                                           \
    "  cvta.to.global.u64 %rd3, %rd1;\n"                                                           \
    "  cvta.to.global.u64 %rd4, %rd2;\n"                                                           \
    "  mul.wide.u32 %rd5, %r1, 4;\n"                                                               \
    "  add.s64 %rd6, %rd3, %rd5;\n"                                                                \
    "  add.s64 %rd7, %rd4, %rd5;\n"                                                                \
    "  ld.global.f32 %f2, [%rd6];\n"                                                               \
    "  ld.global.f32 %f3, [%rd7];\n"                                                               \
    "  fma.rn.f32 %f4, %f1, %f2, %f3;\n"                                                           \
    "  st.global.f32 [%rd7], %f4;\n"                                                               \
    "DONE:\n"                                                                                      \
    "  ret;\n"                                                                                     \
    "}\n"

/*
 * void NAME(const T *in, T *out, unsigned n): out[block] = sum of the block's
 * 256 elements, in a tree of halves; elements from n on count as 0.
 */
#define PTX_REDUCE(NAME, T, ZERO)                                                                  \
    ".visible .entry " NAME "(.param .u64 pin, .param .u64 pout, .param .u32 pn)\n"                \
    "{\n"                                                                                          \
    "  .reg .pred %p<5>;\n"                                                                        \
    "  .reg ." T " %v<5>;\n"                                                                       \
    "  .reg .b32 %r<12>;\n"                                                                        \
    "  .reg .b64 %rd<9>;\n"                                                                        \
    "  .shared .align 4 .b8 tile[1024];\n"                                                         \
    "  ld.param.u64 %rd1, [pin];\n"                                                                \
    "  ld.param.u64 %rd2, [pout];\n"                                                               \
    "  ld.param.u32 %r1, [pn];\n"                                                                  \
    "  mov.u32 %r2, %ctaid.x;\n"                                                                   \
    "  mov.u32 %r3, %ntid.x;\n"                                                                    \
    "  mov.u32 %r4, %tid.x;\n"                                                                     \
    "  mad.lo.s32 %r5, %r2, %r3, %r4;\n"                                                           \
    "  mov." T " %v1, " ZERO ";\n"                                                                 \
    "  setp.ge.u32 %p1, %r5, %r1;\n"                                                               \
    "  @%p1 bra LOADED;\n"                                                                         \
    "  cvta.to.global.u64 %rd3, %rd1;\n"                                                           \
    "  mul.wide.u32 %rd4, %r5, 4;\n"                                                               \
    "  add.s64 %rd5, %rd3, %rd4;\n"                                                                \
    "  ld.global." T " %v1, [%rd5];\n"                                                             \
    "LOADED:\n"                                                                                    \
    "  mov.u32 %r6, tile;\n"                                                                       \
    "  shl.b32 %r7, %r4, 2;\n"                                                                     \
    "  add.s32 %r8, %r6, %r7;\n"                                                                   \
    "  st.shared." T " [%r8], %v1;\n"                                                              \
    "  bar.sync 0;\n"                                                                              \
    "  shr.u32 %r9, %r3, 1;\n"                                                                     \
    "HALVE:\n"                                                                                     \
    "  setp.eq.u32 %p2, %r9, 0;\n"                                                                 \
    "  @%p2 bra SUMMED;\n"                                                                         \
    "  setp.ge.u32 %p3, %r4, %r9;\n"                                                               \
    "  @%p3 bra WAIT;\n"                                                                           \
    "  shl.b32 %r10, %r9, 2;\n"                                                                    \
    "  add.s32 %r11, %r8, %r10;\n"                                                                 \
    "  ld.shared." T " %v2, [%r8];\n"                                                              \
    "  ld.shared." T " %v3, [%r11];\n"                                                             \
    "  add." T " %v4, %v2, %v3;\n"                                                                 \
    "  st.shared." T " [%r8], %v4;\n"                                                              \
    "WAIT:\n"                                                                                      \
    "  bar.sync 0;\n"                                                                              \
    "  shr.u32 %r9, %r9, 1;\n"                                                                     \
    "  bra.uni HALVE;\n"                                                                           \
    "SUMMED:\n"                                                                                    \
    "  setp.ne.u32 %p4, %r4, 0;\n"                                                                 \
    "  @%p4 bra DONE;\n"                                                                           \
    "  ld.shared." T " %v2, [tile];\n"                                                             \
    "  cvta.to.global.u64 %rd6, %rd2;\n"                                                           \
    "  mul.wide.u32 %rd7, %r2, 4;\n"                                                               \
    "  add.s64 %rd8, %rd6, %rd7;\n"                                                                \
    "  st.global." T " [%rd8], %v2;\n"                                                             \
    "DONE:\n"                                                                                      \
    "  ret;\n"                                                                                     \
    "}\n"

/*
 * void NAME(const T *a, const T *b, T *c, unsigned m, unsigned n, unsigned k):
 * c[m][n] = a[m][k] * b[k][n], in tiles of 16 x 16 (a block is one tile of c);
 * tiles are filled up with 0 at the edges.
 */
#define PTX_MATMUL(NAME, T, ZERO, MULTIPLY_ADD)                                                    \
    ".visible .entry " NAME "(.param .u64 pa, .param .u64 pb, .param .u64 pc,\n"                   \
    "    .param .u32 pm, .param .u32 pn, .param .u32 pk)\n"                                        \
    "{\n"                                                                                          \
    "  .reg .pred %p<8>;\n"                                                                        \
    "  .reg ." T " %v<6>;\n"                                                                       \
    "  .reg .b32 %r<32>;\n"                                                                        \
    "  .reg .b64 %rd<16>;\n"                                                                       \
    "  .shared .align 4 .b8 ta[1024];\n"                                                           \
    "  .shared .align 4 .b8 tb[1024];\n"                                                           \
    "  ld.param.u64 %rd1, [pa];\n"                                                                 \
    "  ld.param.u64 %rd2, [pb];\n"                                                                 \
    "  ld.param.u64 %rd3, [pc];\n"                                                                 \
    "  ld.param.u32 %r1, [pm];\n"                                                                  \
    "  ld.param.u32 %r2, [pn];\n"                                                                  \
    "  ld.param.u32 %r3, [pk];\n"                                                                  \
    "  cvta.to.global.u64 %rd4, %rd1;\n"                                                           \
    "  cvta.to.global.u64 %rd5, %rd2;\n"                                                           \
    "  cvta.to.global.u64 %rd6, %rd3;\n"                                                           \
    "  mov.u32 %r4, %tid.x;\n"                                                                     \
    "  mov.u32 %r5, %tid.y;\n"                                                                     \
    "  mov.u32 %r6, %ctaid.x;\n"                                                                   \
    "  mov.u32 %r7, %ctaid.y;\n"                                                                   \
    "  shl.b32 %r8, %r6, 4;\n"                                                                     \
    "  add.s32 %r9, %r8, %r4;\n" /* column */                                                      \
    "  shl.b32 %r10, %r7, 4;\n"                                                                    \
    "  add.s32 %r11, %r10, %r5;\n" /* row */                                                       \
    "  setp.lt.u32 %p1, %r11, %r1;\n"                                                              \
    "  setp.lt.u32 %p2, %r9, %r2;\n"                                                               \
    "  shl.b32 %r12, %r5, 6;\n"                                                                    \
    "  shl.b32 %r13, %r4, 2;\n"                                                                    \
    "  mov.u32 %r14, ta;\n"                                                                        \
    "  mov.u32 %r15, tb;\n"                                                                        \
    "  add.s32 %r16, %r14, %r12;\n" /* my row of ta */                                             \
    "  add.s32 %r17, %r15, %r13;\n" /* my column of tb */                                          \
    "  add.s32 %r18, %r16, %r13;\n"                                                                \
    "  add.s32 %r19, %r17, %r12;\n"                                                                \
    "  mov." T " %v1, " ZERO ";\n"                                                                 \
    "  mov.u32 %r20, 0;\n" /* first k of the tile */                                               \
    "TILE:\n"                                                                                      \
    "  setp.ge.u32 %p3, %r20, %r3;\n"                                                              \
    "  @%p3 bra STORE;\n"                                                                          \
    "  mov." T " %v2, " ZERO ";\n"                                                                 \
    "  mov." T " %v3, " ZERO ";\n"                                                                 \
    "  add.s32 %r21, %r20, %r4;\n"                                                                 \
    "  setp.lt.and.u32 %p4, %r21, %r3, %p1;\n"                                                     \
    "  mad.lo.s32 %r22, %r11, %r3, %r21;\n"                                                        \
    "  mul.wide.u32 %rd7, %r22, 4;\n"                                                              \
    "  add.s64 %rd8, %rd4, %rd7;\n"                                                                \
    "  @%p4 ld.global." T " %v2, [%rd8];\n"                                                        \
    "  add.s32 %r23, %r20, %r5;\n"                                                                 \
    "  setp.lt.and.u32 %p5, %r23, %r3, %p2;\n"                                                     \
    "  mad.lo.s32 %r24, %r23, %r2, %r9;\n"                                                         \
    "  mul.wide.u32 %rd9, %r24, 4;\n"                                                              \
    "  add.s64 %rd10, %rd5, %rd9;\n"                                                               \
    "  @%p5 ld.global." T " %v3, [%rd10];\n"                                                       \
    "  st.shared." T " [%r18], %v2;\n"                                                             \
    "  st.shared." T " [%r19], %v3;\n"                                                             \
    "  bar.sync 0;\n"                                                                              \
    "  mov.u32 %r25, %r16;\n"                                                                      \
    "  mov.u32 %r26, %r17;\n"                                                                      \
    "  add.s32 %r27, %r16, 64;\n"                                                                  \
    "PRODUCT:\n"                                                                                   \
    "  ld.shared." T " %v4, [%r25];\n"                                                             \
    "  ld.shared." T " %v5, [%r26];\n"                                                             \
    "  " MULTIPLY_ADD " %v1, %v4, %v5, %v1;\n"                                                     \
    "  add.s32 %r25, %r25, 4;\n"                                                                   \
    "  add.s32 %r26, %r26, 64;\n"                                                                  \
    "  setp.lt.u32 %p6, %r25, %r27;\n"                                                             \
    "  @%p6 bra PRODUCT;\n"                                                                        \
    "  bar.sync 0;\n"                                                                              \
    "  add.s32 %r20, %r20, 16;\n"                                                                  \
    "  bra.uni TILE;\n"                                                                            \
    "STORE:\n"                                                                                     \
    "  and.pred %p7, %p1, %p2;\n"                                                                  \
    "  mad.lo.s32 %r28, %r11, %r2, %r9;\n"                                                         \
    "  mul.wide.u32 %rd11, %r28, 4;\n"                                                             \
    "  add.s64 %rd12, %rd6, %rd11;\n"                                                              \
    "  @%p7 st.global." T " [%rd12], %v1;\n"                                                       \
    "  ret;\n"                                                                                     \
    "}\n"

#define PTX_ALL                                                                                    \
    PTX_HEADER PTX_VEC_ADD PTX_SAXPY PTX_REDUCE("reduce_f32", "f32", "0f00000000")                 \
        PTX_REDUCE("reduce_i32", "s32", "0")                                                       \
            PTX_MATMUL("matmul_f32", "f32", "0f00000000", "fma.rn.f32")                            \
                PTX_MATMUL("matmul_i32", "s32", "0", "mad.lo.s32")

#endif
