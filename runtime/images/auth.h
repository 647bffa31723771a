/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials towards one registry endpoint: what a 401's WWW-Authenticate
 * asks for (RFC 9110 11.6.1) and how it is answered: Basic, or a bearer token
 * from the token server it names (distribution's token specification; GET with
 * basic credentials, or POST with a refresh token when there is an identity
 * token). Safe for the many layer downloads of one pull.
 */
#ifndef GI_IMAGES_AUTH_H
#define GI_IMAGES_AUTH_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "http.h"
#include "images.h"

/* The challenges of one or more WWW-Authenticate values that we can answer. */
struct auth_challenge {
    bool basic;
    bool bearer;
    char realm[2048]; /* of bearer, like the rest */
    char service[512];
    char scope[2048];
    char error[128];
};

/* Unknown schemes and parameters are skipped. INVALID_ARGUMENT: not a list of
 * challenges, or a value we use is too long. */
int auth_parse_challenges(const char *header, struct auth_challenge *ret_challenge,
                          struct gi_error *err);

/* "user:password" in base64 to its parts (heap). INVALID_ARGUMENT. */
int auth_decode_basic(const char *base64, char **ret_user, char **ret_password,
                      struct gi_error *err);

struct auth;

/* CREDENTIALS (may be NULL: anonymous) are copied. HTTPS: the endpoint speaks
 * it, so its token server must too. */
int auth_new(const struct images_auth *credentials, bool https, struct auth **ret_auth,
             struct gi_error *err);
void auth_free(struct auth *a);
GI_DEFINE_CLEANUP(struct auth *, auth_free);

/* The Authorization value to send now (heap), NULL: none. */
char *auth_header(struct auth *a);

/* After a 401 to a request that carried USED (may be NULL): gets what it takes
 * to try again. REPOSITORY: "library/busybox". UNAUTHENTICATED: nothing more
 * can be done; the token server's errors pass through. */
int auth_answer(struct auth *a, struct http *h, const char *www_authenticate, const char *used,
                const char *repository, struct gi_error *err);

/* "anonymous", "basic USER", "identity-token" or "registry-token", for records. */
void auth_describe(const struct images_auth *credentials, char *ret_text, size_t size);

#endif
