/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GPUICTL_PULL_H
#define GPUICTL_PULL_H

#include "ctl.h"

/* Pulls IMAGE with a live line on stderr (a few plain lines when that is no
 * terminal; none when QUIET). AUTH, SANDBOX may be NULL. *ret_ref (heap, may
 * be NULL) is what PullImage returned. */
int pull_image(struct ctl *ctl, const char *image, const Runtime__V1__AuthConfig *auth,
               const Runtime__V1__PodSandboxConfig *sandbox, bool quiet, char **ret_ref,
               struct gi_error *err);

/* Whether the runtime has IMAGE: 1, 0 or a negative error. */
int pull_have_image(struct ctl *ctl, const char *image, struct gi_error *err);

#endif
