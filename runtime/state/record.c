/* SPDX-License-Identifier: Apache-2.0 */
#include "state/record.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "rpc/pb.h"

#define MAGIC   "GIRECORD"
#define VERSION 1u

struct header {
    char magic[8];
    uint16_t version;
    uint16_t kind;
    uint32_t len;
    uint32_t crc;
    uint32_t zero;
};
_Static_assert(sizeof(struct header) == RECORD_HEADER, "no padding");

static uint32_t crc32_of(const uint8_t *data, size_t len)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

static const ProtobufCMessageDescriptor *type_of(enum record_kind kind)
{
    return kind == RECORD_POD ? &gi__state__pod_record__descriptor
                              : &gi__state__container_record__descriptor;
}

int record_encode(enum record_kind kind, const void *message, uint8_t **ret_data, size_t *ret_len,
                  struct gi_error *err)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len > RECORD_MAX - RECORD_HEADER)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "a record of %zu bytes is too long", len);
    uint8_t *data = malloc(RECORD_HEADER + len);
    if (!data)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "out of memory");
    protobuf_c_message_pack(message, data + RECORD_HEADER);
    struct header h = {
        .magic = {'G', 'I', 'R', 'E', 'C', 'O', 'R', 'D'},
        .version = htole16(VERSION),
        .kind = htole16((uint16_t)kind),
        .len = htole32((uint32_t)len),
        .crc = htole32(crc32_of(data + RECORD_HEADER, len)),
    };
    memcpy(data, &h, sizeof(h));
    *ret_data = data;
    *ret_len = RECORD_HEADER + len;
    return 0;
}

/* What must be there for the rest of the runtime to work with it. */
static bool is_complete(enum record_kind kind, const void *message)
{
    if (kind == RECORD_POD) {
        const Gi__State__PodRecord *p = message;
        return p->config && p->config->metadata;
    }
    const Gi__State__ContainerRecord *c = message;
    return c->config && c->config->metadata && c->config->image;
}

int record_decode(enum record_kind kind, const uint8_t *data, size_t len, void *ret_message,
                  struct gi_error *err)
{
    struct header h;
    if (len < sizeof(h) || len > RECORD_MAX)
        return gi_fail(err, GI_DATA_LOSS, "not a record: %zu bytes", len);
    memcpy(&h, data, sizeof(h));
    if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0)
        return gi_fail(err, GI_DATA_LOSS, "not a record: bad magic");
    if (le16toh(h.version) != VERSION)
        return gi_fail(err, GI_UNIMPLEMENTED, "a record of version %u, this is %u",
                       le16toh(h.version), VERSION);
    if (le16toh(h.kind) != kind)
        return gi_fail(err, GI_DATA_LOSS, "a record of kind %u, not %d", le16toh(h.kind), kind);
    data += RECORD_HEADER;
    len -= RECORD_HEADER;
    if (le32toh(h.len) != len || le32toh(h.crc) != crc32_of(data, len))
        return gi_fail(err, GI_DATA_LOSS, "a damaged record");
    cleanup_pb void *m = pb_unpack(type_of(kind), data, len, 64 * RECORD_MAX);
    if (!m || !is_complete(kind, m) || pb_check_strings(m, NULL) < 0)
        return gi_fail(err, GI_DATA_LOSS, "a record that lacks something");
    *(void **)ret_message = TAKE_PTR(m);
    return 0;
}

int record_load(const char *path, enum record_kind kind, void *ret_message, struct gi_error *err)
{
    cleanup_free char *data = NULL;
    size_t len = 0;
    int rc = gi_read_file(path, RECORD_MAX, &data, &len, err);
    if (rc < 0)
        return rc;
    rc = record_decode(kind, (const uint8_t *)data, len, ret_message, err);
    return rc < 0 ? gi_prefix(err, "%s", path) : 0;
}
