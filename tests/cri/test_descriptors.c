/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built CRI descriptors against tests/cri/cri-v1.tsv, in both directions:
 * every row of the table is in the descriptors, and the counts are equal, so
 * nothing else is. Names, numbers, types and labels come from the protobuf-c
 * descriptors linked into this program; streaming, which those don't carry,
 * from the FileDescriptorSet that protoc wrote in the same build.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "cri/cri.h"

#define MAX_TYPES 512
#define PACKAGE   "runtime.v1."

static const ProtobufCMessageDescriptor *messages[MAX_TYPES];
static size_t n_messages;
static const ProtobufCEnumDescriptor *enums[MAX_TYPES];
static size_t n_enums;

static void collect_enum(const ProtobufCEnumDescriptor *e)
{
    for (size_t i = 0; i < n_enums; i++)
        if (enums[i] == e)
            return;
    assert_true(n_enums < MAX_TYPES);
    enums[n_enums++] = e;
}

static void collect_message(const ProtobufCMessageDescriptor *m)
{
    for (size_t i = 0; i < n_messages; i++)
        if (messages[i] == m)
            return;
    assert_true(n_messages < MAX_TYPES);
    messages[n_messages++] = m;
    for (unsigned i = 0; i < m->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->fields[i];
        if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            collect_message(f->descriptor);
        else if (f->type == PROTOBUF_C_TYPE_ENUM)
            collect_enum(f->descriptor);
    }
}

static const ProtobufCServiceDescriptor *const services[] = {
    &runtime__v1__runtime_service__descriptor,
    &runtime__v1__image_service__descriptor,
};

static void collect_all(void)
{
    for (size_t s = 0; s < GI_ARRAY_SIZE(services); s++) {
        for (unsigned i = 0; i < services[s]->n_methods; i++) {
            collect_message(services[s]->methods[i].input);
            collect_message(services[s]->methods[i].output);
        }
    }
}

static const ProtobufCMessageDescriptor *find_message(const char *name)
{
    for (size_t i = 0; i < n_messages; i++)
        if (strncmp(messages[i]->name, PACKAGE, sizeof(PACKAGE) - 1) == 0 &&
            strcmp(messages[i]->name + sizeof(PACKAGE) - 1, name) == 0)
            return messages[i];
    fail_msg("message %s is in the table, not in the descriptors", name);
    abort(); /* not reached; the analyzer doesn't know fail_msg */
}

/* The one nested enum of CRI keeps upstream's place. */
static const ProtobufCEnumDescriptor *find_enum(const char *name)
{
    char full[128];
    if (strcmp(name, "ProfileType") == 0)
        snprintf(full, sizeof(full), PACKAGE "SecurityProfile.ProfileType");
    else
        snprintf(full, sizeof(full), PACKAGE "%s", name);
    for (size_t i = 0; i < n_enums; i++)
        if (strcmp(enums[i]->name, full) == 0)
            return enums[i];
    fail_msg("enum %s is in the table, not in the descriptors", name);
    abort();
}

static void check_scalar(const ProtobufCFieldDescriptor *f, const char *where, const char *type)
{
    static const struct {
        const char *name;
        ProtobufCType type;
    } scalars[] = {
        {"string", PROTOBUF_C_TYPE_STRING}, {"bytes", PROTOBUF_C_TYPE_BYTES},
        {"bool", PROTOBUF_C_TYPE_BOOL},     {"int32", PROTOBUF_C_TYPE_INT32},
        {"int64", PROTOBUF_C_TYPE_INT64},   {"uint32", PROTOBUF_C_TYPE_UINT32},
        {"uint64", PROTOBUF_C_TYPE_UINT64}, {"double", PROTOBUF_C_TYPE_DOUBLE},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(scalars); i++) {
        if (strcmp(scalars[i].name, type) == 0) {
            if (f->type != scalars[i].type)
                fail_msg("%s: not a %s", where, type);
            return;
        }
    }
    if (f->type == PROTOBUF_C_TYPE_ENUM) {
        assert_ptr_equal(f->descriptor, find_enum(type));
    } else {
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            fail_msg("%s: not a %s", where, type);
        assert_ptr_equal(f->descriptor, find_message(type));
    }
}

static void check_map(const ProtobufCFieldDescriptor *f, const char *where, const char *type)
{
    assert_string_equal(type, "map<string,string>");
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
        fail_msg("%s: not a map", where);
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    assert_int_equal(entry->n_fields, 2);
    assert_int_equal(entry->sizeof_message, sizeof(struct gi_cri_entry));
    assert_string_equal(entry->fields[0].name, "key");
    assert_int_equal(entry->fields[0].id, 1);
    assert_int_equal(entry->fields[0].type, PROTOBUF_C_TYPE_STRING);
    assert_int_equal(entry->fields[0].offset, offsetof(struct gi_cri_entry, key));
    assert_string_equal(entry->fields[1].name, "value");
    assert_int_equal(entry->fields[1].id, 2);
    assert_int_equal(entry->fields[1].type, PROTOBUF_C_TYPE_STRING);
    assert_int_equal(entry->fields[1].offset, offsetof(struct gi_cri_entry, value));
}

static void check_field(char **col)
{
    char where[256];
    snprintf(where, sizeof(where), "%s.%s", col[1], col[3]);
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(find_message(col[1]), col[3]);
    if (!f) {
        fail_msg("%s is in the table, not in the descriptors", where);
        return;
    }
    if (f->id != strtoul(col[2], NULL, 10))
        fail_msg("%s: number %u, the table says %s", where, f->id, col[2]);
    if (strcmp(col[5], "map") == 0) {
        check_map(f, where, col[4]);
        return;
    }
    bool repeated = strcmp(col[5], "repeated") == 0;
    if (!repeated)
        assert_string_equal(col[5], "singular");
    if (repeated != (f->label == PROTOBUF_C_LABEL_REPEATED))
        fail_msg("%s: the table says %s", where, col[5]);
    check_scalar(f, where, col[4]);
}

/* Calls FN for each row of KIND with its columns; returns how many. */
static size_t each_row(const char *kind, size_t n_cols, void (*fn)(char **col))
{
    cleanup_fclose FILE *f = fopen(CRI_TABLE, "re");
    assert_non_null(f);
    if (!f)
        return 0;
    char line[512];
    size_t n = 0;
    while (fgets(line, sizeof(line), f)) {
        static char none[1];
        char *col[8] = {none, none, none, none, none, none, none, none}, *save = NULL;
        size_t c = 0;
        if (line[0] == '#')
            continue;
        line[strcspn(line, "\n")] = '\0';
        for (char *t = strtok_r(line, "\t", &save); t && c < 8; t = strtok_r(NULL, "\t", &save))
            col[c++] = t;
        if (strcmp(col[0], kind) != 0)
            continue;
        assert_int_equal(c, n_cols);
        fn(col);
        n++;
    }
    return n;
}

static void check_message(char **col)
{
    find_message(col[1]);
}

static void test_messages(void **state)
{
    size_t n_maps = 0, n_fields = 0;
    for (size_t i = 0; i < n_messages; i++) {
        size_t len = strlen(messages[i]->name);
        if (len > 5 && strcmp(messages[i]->name + len - 5, "Entry") == 0)
            n_maps++;
        else
            n_fields += messages[i]->n_fields;
    }
    assert_int_equal(each_row("message", 2, check_message), n_messages - n_maps);
    assert_int_equal(each_row("field", 6, check_field), n_fields);
}

static void check_enum(char **col)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value_by_name(find_enum(col[1]), col[3]);
    if (!v) {
        fail_msg("%s.%s is in the table, not in the descriptors", col[1], col[3]);
        return;
    }
    assert_int_equal(v->value, strtol(col[2], NULL, 10));
}

static void test_enums(void **state)
{
    size_t n = 0;
    for (size_t i = 0; i < n_enums; i++)
        n += enums[i]->n_value_names;
    assert_int_equal(each_row("enum", 4, check_enum), n);
}

/* One message of the protobuf wire format: the next field at *p. */
static uint64_t varint(const uint8_t **p, const uint8_t *end)
{
    uint64_t v = 0;
    for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    fail_msg("%s is damaged", CRI_DESCRIPTOR_SET);
    return 0;
}

struct wire_field {
    uint64_t number, value;
    const uint8_t *data, *end;
};

static bool next_field(const uint8_t **p, const uint8_t *end, struct wire_field *f)
{
    if (*p >= end)
        return false;
    uint64_t tag = varint(p, end);
    *f = (struct wire_field){.number = tag >> 3};
    f->value = varint(p, end);
    if ((tag & 7) == 2) {
        assert_true(f->value <= (uint64_t)(end - *p));
        f->data = *p;
        *p += f->value;
        f->end = *p;
    } else {
        assert_int_equal(tag & 7, 0);
    }
    return true;
}

static bool same(const struct wire_field *f, const char *text)
{
    return f->data && (size_t)(f->end - f->data) == strlen(text) &&
           memcmp(f->data, text, strlen(text)) == 0;
}

static char *descriptor_set;
static size_t descriptor_set_len;

/* google/protobuf/descriptor.proto: FileDescriptorSet.file = 1,
 * FileDescriptorProto.service = 6, ServiceDescriptorProto{name = 1, method = 2},
 * MethodDescriptorProto{name = 1, client_streaming = 5, server_streaming = 6}. */
static bool find_in_set(const char *service, const char *method, bool *ret_server, bool *ret_client)
{
    const uint8_t *p = (const uint8_t *)descriptor_set, *end = p + descriptor_set_len;
    struct wire_field file, svc, in, m;

    while (next_field(&p, end, &file)) {
        const uint8_t *fp = file.data;
        while (next_field(&fp, file.end, &svc)) {
            if (svc.number != 6)
                continue;
            const uint8_t *sp = svc.data;
            bool right = false;
            while (next_field(&sp, svc.end, &in)) {
                if (in.number == 1)
                    right = same(&in, service);
                if (in.number != 2 || !right)
                    continue;
                const uint8_t *mp = in.data;
                bool found = false, server = false, client = false;
                while (next_field(&mp, in.end, &m)) {
                    if (m.number == 1)
                        found = same(&m, method);
                    else if (m.number == 5)
                        client = m.value != 0;
                    else if (m.number == 6)
                        server = m.value != 0;
                }
                if (found) {
                    *ret_server = server;
                    *ret_client = client;
                    return true;
                }
            }
        }
    }
    return false;
}

static void check_method(char **col)
{
    char path[256];
    const ProtobufCServiceDescriptor *service = NULL;
    snprintf(path, sizeof(path), "/" PACKAGE "%s/%s", col[1], col[2]);
    const ProtobufCMethodDescriptor *m = gi_cri_find_method(path, &service);
    if (!m) {
        fail_msg("%s is in the table, not in the descriptors", path);
        return;
    }
    assert_string_equal(service->name + sizeof(PACKAGE) - 1, col[1]);
    assert_ptr_equal(m->input, find_message(col[3]));

    bool stream = strncmp(col[4], "stream ", 7) == 0;
    assert_ptr_equal(m->output, find_message(col[4] + (stream ? 7 : 0)));
    bool server = false, client = false;
    if (!find_in_set(col[1], col[2], &server, &client))
        fail_msg("%s is not in the descriptor set", path);
    assert_int_equal(server, stream);
    assert_false(client);
    assert_int_equal(gi_cri_method_streams(m), stream);
}

static void test_methods(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    if (gi_read_file(CRI_DESCRIPTOR_SET, 1 << 20, &descriptor_set, &descriptor_set_len, &err) != 0)
        fail_msg("%s", err.message);
    size_t n = each_row("method", 5, check_method);
    free(descriptor_set);
    assert_int_equal(n, 43);
    assert_int_equal(services[0]->n_methods + services[1]->n_methods, n);
    assert_null(gi_cri_find_method("/runtime.v1.RuntimeService/Nothing", NULL));
    assert_null(gi_cri_find_method("/runtime.v1.RuntimeServic/Version", NULL));
    assert_null(gi_cri_find_method("runtime.v1.RuntimeService/Version", NULL));
    assert_null(gi_cri_find_method("/runtime.v1.RuntimeService", NULL));
    assert_null(gi_cri_find_method("", NULL));
}

/* Map entries survive the wire, and gi_cri_map_get reads them. */
static void test_map(void **state)
{
    Runtime__V1__PodSandboxConfig__LabelsEntry e[2] = {
        RUNTIME__V1__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT,
        RUNTIME__V1__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT,
    };
    Runtime__V1__PodSandboxConfig__LabelsEntry *list[2] = {&e[0], &e[1]};
    Runtime__V1__PodSandboxConfig config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    e[0].key = (char *)"app";
    e[0].value = (char *)"demo";
    e[1].key = (char *)"empty";
    config.labels = list;
    config.n_labels = 2;

    uint8_t wire[256];
    size_t len = runtime__v1__pod_sandbox_config__get_packed_size(&config);
    assert_true(len < sizeof(wire));
    runtime__v1__pod_sandbox_config__pack(&config, wire);
    Runtime__V1__PodSandboxConfig *got = runtime__v1__pod_sandbox_config__unpack(NULL, len, wire);
    assert_non_null(got);
    assert_int_equal(got->n_labels, 2);
    assert_string_equal(gi_cri_map_get(got->labels, got->n_labels, "app"), "demo");
    assert_string_equal(gi_cri_map_get(got->labels, got->n_labels, "empty"), "");
    assert_null(gi_cri_map_get(got->labels, got->n_labels, "nothing"));
    assert_null(got->linux);
    assert_string_equal(got->hostname, "");
    runtime__v1__pod_sandbox_config__free_unpacked(got, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_enums),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_map),
    };
    collect_all();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
