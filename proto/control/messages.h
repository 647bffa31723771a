/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol, described once. Each CONTROL_*_FIELDS list names the
 * fields of one record in wire order; from it come the struct that both ends
 * use (below) and the table that the one codec walks (codec.c). A new field or
 * call is one line here.
 *
 *   X(U32, name) X(U64, name)      numbers
 *   X(STR, name, max)              text: at most MAX bytes, no NUL, no control byte
 *   X(REC, name, record)           the fields of another record, in place
 *   X(LIST, name, record, max)     a count, then at most MAX records
 */
#ifndef GI_CONTROL_MESSAGES_H
#define GI_CONTROL_MESSAGES_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "control/control.h"

#define CONTROL_MAGIC       0x54434947u /* "GICT" */
#define CONTROL_VERSION     3u
#define CONTROL_HEADER_SIZE 16u
#define CONTROL_MAX_PAYLOAD (32u * 1024)
#define CONTROL_MAX_MESSAGE (CONTROL_HEADER_SIZE + CONTROL_MAX_PAYLOAD)
#define CONTROL_MAX_ZONES   1024u

/* clang-format off */
#define CONTROL_ERROR_FIELDS(X) X(U32, code) X(STR, message, 511)
#define CONTROL_TEXT_FIELDS(X)  X(STR, text, 511)
#define CONTROL_PATH_FIELDS(X)  X(STR, path, CONTROL_PATH_MAX)
#define CONTROL_ZONE_FIELDS(X)  X(U32, zone)

#define CONTROL_QUOTA_FIELDS(X) \
    X(U64, memory_bytes) \
    X(U32, max_clients) \
    X(U32, max_handles) \
    X(U64, max_channel_bytes) \
    X(U32, compute_weight) \
    X(U32, compute_cap)

#define CONTROL_CREATE_ZONE_FIELDS(X) \
    X(U32, zone) \
    X(STR, label, CONTROL_LABEL_MAX) \
    X(REC, quota, quota)

#define CONTROL_ZONE_INFO_FIELDS(X) \
    X(U32, zone) \
    X(STR, label, CONTROL_LABEL_MAX) \
    X(STR, path, CONTROL_PATH_MAX) \
    X(REC, quota, quota)

#define CONTROL_ZONE_STATS_FIELDS(X) \
    X(U32, zone) \
    X(U32, clients) \
    X(U64, clients_total) \
    X(U64, calls) \
    X(U64, launches) \
    X(U64, bytes_to_device) \
    X(U64, bytes_from_device) \
    X(U64, memory_used) \
    X(U64, memory_quota) \
    X(U64, memory_shared) \
    X(U64, shared_items) \
    X(U64, gpu_ns) \
    X(U64, refused_handles) \
    X(U64, refused_addresses) \
    X(U64, protocol_errors) \
    X(U64, quota_refusals) \
    X(U64, worker_crashes)

#define CONTROL_CLIENT_STATS_FIELDS(X) \
    X(U32, id) \
    X(U32, pid) \
    X(U32, state) \
    X(U32, handles) \
    X(U64, age_ns) \
    X(U64, calls) \
    X(U64, launches) \
    X(U64, memory_used) \
    X(U64, channel_bytes) \
    X(U64, gpu_ns)

#define CONTROL_ZONE_LIST_FIELDS(X)   X(LIST, zones, zone, CONTROL_MAX_ZONES)
#define CONTROL_CLIENT_LIST_FIELDS(X) X(LIST, clients, client_stats, CONTROL_MAX_CLIENTS)

/* RECORD(name, fields) for each struct control_NAME that travels. The public
 * ones are declared in control.h; codec.c asserts that they agree. */
#define CONTROL_PUBLIC_RECORDS(RECORD) \
    RECORD(quota, CONTROL_QUOTA_FIELDS) \
    RECORD(zone_info, CONTROL_ZONE_INFO_FIELDS) \
    RECORD(zone_stats, CONTROL_ZONE_STATS_FIELDS) \
    RECORD(client_stats, CONTROL_CLIENT_STATS_FIELDS)

#define CONTROL_WIRE_RECORDS(RECORD) \
    RECORD(error, CONTROL_ERROR_FIELDS) \
    RECORD(text, CONTROL_TEXT_FIELDS) \
    RECORD(path, CONTROL_PATH_FIELDS) \
    RECORD(zone, CONTROL_ZONE_FIELDS) \
    RECORD(create_zone, CONTROL_CREATE_ZONE_FIELDS) \
    RECORD(zone_list, CONTROL_ZONE_LIST_FIELDS) \
    RECORD(client_list, CONTROL_CLIENT_LIST_FIELDS)

/* CALL(number, name, request record, response record). A response has its
 * call's number with CONTROL_RESPONSE set, or CONTROL_FAILURE. */
#define CONTROL_CALLS(CALL) \
    CALL(1, info, nothing, text) \
    CALL(2, create_zone, create_zone, path) \
    CALL(3, drop_zone, zone, nothing) \
    CALL(4, zone_stats, zone, zone_stats) \
    CALL(5, list_zones, nothing, zone_list) \
    CALL(6, zone_info, zone, zone_info) \
    CALL(7, list_clients, zone, client_list)

#define CONTROL_RESPONSE 0x8000u
#define CONTROL_FAILURE  0xffffu /* the body is a struct control_error */

#define CONTROL_MEMBER(kind, ...)            CONTROL_MEMBER_##kind(__VA_ARGS__)
#define CONTROL_MEMBER_U32(name)             uint32_t name;
#define CONTROL_MEMBER_U64(name)             uint64_t name;
#define CONTROL_MEMBER_STR(name, max)        char name[(max) + 1];
#define CONTROL_MEMBER_REC(name, record)     struct control_##record name;
#define CONTROL_MEMBER_LIST(name, record, max) \
    uint32_t n_##name; struct control_##record name[max];
#define CONTROL_STRUCT(name, FIELDS) struct control_##name { FIELDS(CONTROL_MEMBER) };
CONTROL_WIRE_RECORDS(CONTROL_STRUCT)
struct control_nothing { char unused; };

enum control_call {
#define CONTROL_CALL_NUMBER(number, name, request, response) CONTROL_CALL_##name = (number),
    CONTROL_CALLS(CONTROL_CALL_NUMBER)
#undef CONTROL_CALL_NUMBER
};

/* Room for the body of any message. */
union control_any {
    struct control_nothing nothing;
#define CONTROL_ANY_MEMBER(name, FIELDS) struct control_##name name;
    CONTROL_PUBLIC_RECORDS(CONTROL_ANY_MEMBER)
    CONTROL_WIRE_RECORDS(CONTROL_ANY_MEMBER)
#undef CONTROL_ANY_MEMBER
};
/* clang-format on */

struct control_header {
    uint16_t type;
    uint32_t seq; /* chosen by the client, repeated in the response */
};

/* Encodes BODY, the struct control_* that TYPE calls for (NULL for `nothing`),
 * as one message into OUT and returns its length. INVALID_ARGUMENT for text or
 * a list past its limit, UNIMPLEMENTED for an unknown type, OUT_OF_RANGE when OUT
 * is too small. */
int control_encode(uint16_t type, uint32_t seq, const void *body, void *out, size_t out_size,
                   struct gi_error *err);

/* Decodes one whole message from a peer who may be hostile; DATA must not change
 * meanwhile. *ret_header is set as soon as the header is sound (so that an error
 * can be answered with its seq), *ret_body only on success.
 * INVALID_ARGUMENT, or UNIMPLEMENTED for another version or an unknown type. */
int control_decode(const void *data, size_t len, struct control_header *ret_header,
                   union control_any *ret_body, struct gi_error *err);

/* The name of a type's call, for logs; "unknown" for one we don't have. */
const char *control_call_name(uint16_t type);

#endif
