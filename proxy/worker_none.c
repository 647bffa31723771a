/* SPDX-License-Identifier: Apache-2.0 */
/* Until proxy/worker is there. */
#include "worker/worker.h"

int worker_run(const struct worker_config *config, struct gi_error *err)
{
    return gi_fail(err, GI_UNIMPLEMENTED, "this build serves no channels");
}
