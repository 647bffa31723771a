/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VG_FUNCTION_H
#define VG_FUNCTION_H

void function_forked(void);

#endif
