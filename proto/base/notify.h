/* SPDX-License-Identifier: Apache-2.0 */
/* sd_notify(3) without libsystemd. */
#ifndef GI_BASE_NOTIFY_H
#define GI_BASE_NOTIFY_H

/* Sends STATE ("READY=1\nSTATUS=...") to the service manager named by
 * NOTIFY_SOCKET; without one does nothing. Failure is nobody's concern. */
void gi_notify(const char *state);

#endif
