/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate headers and base64 credentials. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct auth_challenge c;
    struct gi_error err = GI_ERROR_INIT;
    cleanup_free char *user = NULL;
    cleanup_free char *password = NULL;
    cleanup_free char *text = strndup((const char *)data, size);
    if (!text)
        return 0;
    if (auth_parse_challenges(text, &c, &err) == 0 && strpbrk(c.realm, "\r\n"))
        abort();
    auth_decode_basic(text, &user, &password, &err);
    return 0;
}
