/* SPDX-License-Identifier: Apache-2.0 */
/* A vchan (libxenvchan) as what carries a link. */
#ifndef GI_LINK_VCHAN_H
#define GI_LINK_VCHAN_H

#include <libxenvchan.h>

#include "link.h"

/* Where the zone offers its agent, below its own folder of xenstore: a node
 * that libxl makes for it to write. */
#define LINK_VCHAN_NODE "data/vchan/agent"

/* CHAN stays the caller's and must outlive the link; one thread uses it. */
void link_over_vchan(struct libxenvchan *chan, struct link_pipe *ret);

#endif
