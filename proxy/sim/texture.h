/* SPDX-License-Identifier: Apache-2.0 */
/* What a texture or surface object's handle stands for while a kernel runs. No CUDA here. */
#ifndef SIM_TEXTURE_H
#define SIM_TEXTURE_H

#include <stdbool.h>
#include <stdint.h>

enum sim_texel { TEXEL_UNSIGNED, TEXEL_SIGNED, TEXEL_FLOAT };
enum sim_edge { EDGE_WRAP, EDGE_CLAMP, EDGE_MIRROR, EDGE_BORDER }; /* CUaddress_mode's numbers */

struct sim_texture {
    uint8_t *base;
    uint64_t row, plane;           /* bytes from one to the next */
    uint32_t width, height, depth; /* 1 where there is no such side; depth: or layers */
    uint8_t bytes, channels;       /* of a channel; of an element */
    enum sim_texel texel;
    enum sim_edge edge[3];
    bool linear;     /* filtered */
    bool normalized; /* coordinates from 0 to 1 */
    bool as_integer; /* or else from 0 to 1, from -1 to 1 */
    bool flat;       /* memory, not an array: nothing is beyond its ends */
    bool layered;
    float border[4];
};

#endif
