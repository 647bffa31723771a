/* SPDX-License-Identifier: Apache-2.0 */
/* What rdc.cu has in its other file. */
#ifndef GI_TESTS_NVCC_RDC_H
#define GI_TESTS_NVCC_RDC_H

extern __constant__ unsigned offset;
__device__ unsigned scramble(unsigned x);
void set_offset(unsigned v);
void double_all(unsigned *x, int n);

#endif
