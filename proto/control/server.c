/* SPDX-License-Identifier: Apache-2.0 */
#include "control/server.h"

#include <string.h>

#include "base/cleanup.h"

static int call(const struct control_ops *ops, void *data, uint16_t type,
                const union control_any *req, union control_any *ret, struct gi_error *err)
{
    switch (type) {
#define CALL(number, name, request, response)                                                      \
    case CONTROL_CALL_##name:                                                                      \
        return ops->name(data, &req->request, &ret->response, err);
        CONTROL_CALLS(CALL)
#undef CALL
    default:
        return gi_fail(err, GI_UNIMPLEMENTED, "control call %u", type);
    }
}

int control_serve(const struct control_ops *ops, void *data, const void *in, size_t len, void *out,
                  struct gi_error *err)
{
    cleanup_free union control_any *req = calloc(1, sizeof(*req));
    cleanup_free union control_any *ret = calloc(1, sizeof(*ret));
    if (!req || !ret)
        return gi_fail_errno(err, ENOMEM, "control call");
    struct control_header h = {0};
    struct gi_error why = GI_ERROR_INIT;
    int rc = control_decode(in, len, &h, req, &why);
    /* A type of 0 says that not even the header was sound. */
    if (h.type == 0 || (h.type & CONTROL_RESPONSE))
        return gi_fail(err, GI_INVALID_ARGUMENT, "%s",
                       rc < 0 ? why.message : "a response where a request was due");
    if (rc == 0)
        rc = call(ops, data, h.type, req, ret, &why);
    if (rc == 0)
        rc = control_encode(h.type | CONTROL_RESPONSE, h.seq, ret, out, CONTROL_MAX_MESSAGE, &why);
    if (rc >= 0)
        return rc;
    struct control_error failure = {.code = (uint32_t)(why.code ? why.code : GI_INTERNAL)};
    snprintf(failure.message, sizeof(failure.message), "%s", why.message);
    /* A message may quote what a peer sent; the wire takes no control bytes. */
    for (char *p = failure.message; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
    return control_encode(CONTROL_FAILURE, h.seq, &failure, out, CONTROL_MAX_MESSAGE, err);
}
