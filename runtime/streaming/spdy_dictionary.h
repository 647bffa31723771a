/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GI_STREAMING_SPDY_DICTIONARY_H
#define GI_STREAMING_SPDY_DICTIONARY_H

#define SPDY_DICTIONARY_LEN 1423

/* The preset zlib dictionary of SPDY/3 header blocks (draft 3, section 2.6.10.1). */
const unsigned char *spdy_dictionary(void);

#endif
