/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VG_PROCADDR_H
#define VG_PROCADDR_H

/* The functions of idm_symbols; generated from cuda.calls. */
extern void (*const vg_functions[])(void);

#endif
