/* SPDX-License-Identifier: Apache-2.0 */
/* Ending pods and containers; the log folders of pods that `run` made. */
#ifndef GPUICTL_POD_H
#define GPUICTL_POD_H

#include "ctl.h"

int pod_stop(struct ctl *ctl, char *id, struct gi_error *err);
int pod_stop_container(struct ctl *ctl, char *id, long grace_s, struct gi_error *err);
int pod_remove(struct ctl *ctl, char *id, struct gi_error *err);
int pod_remove_container(struct ctl *ctl, char *id, struct gi_error *err);

/* A pod that `run` makes has 32 random hex digits as uid and its logs in
 * <log_root>/<uid>. Removes that folder (and log_root when it became empty);
 * a uid of any other form is somebody else's pod: nothing happens. */
int pod_remove_logs(struct ctl *ctl, const char *uid, struct gi_error *err);

#endif
