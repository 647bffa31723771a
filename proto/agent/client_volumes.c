/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes: files are sent in messages of bounded size. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/client_internal.h"
#include "base/cleanup.h"

/* Of one message; leaves room for the paths. */
#define PUT_BYTES (256u << 10)
#define PUT_FILES 256u

int agent_make_volume(struct agent_client *c, const struct agent_volume *v, int timeout_ms,
                      struct gi_error *err)
{
    Gi__Agent__MakeVolume make = GI__AGENT__MAKE_VOLUME__INIT;
    make.volume = (char *)v->name;
    make.memory = v->memory;
    make.size_bytes = v->size_bytes;
    make.mode = v->mode;
    make.uid = v->uid;
    make.gid = v->gid;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_MAKE_VOLUME;
    msg.make_volume = &make;
    return client_simple_call(c, &msg, timeout_ms, err);
}

int agent_remove_volume(struct agent_client *c, const char *name, int timeout_ms,
                        struct gi_error *err)
{
    Gi__Agent__VolumeRef ref = GI__AGENT__VOLUME_REF__INIT;
    ref.volume = (char *)name;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_REMOVE_VOLUME;
    msg.remove_volume = &ref;
    return client_simple_call(c, &msg, timeout_ms, err);
}

/* ---- put ---- */

/* One message under construction. */
struct batch {
    Gi__Agent__PutFiles put;
    Gi__Agent__VolumeFile parts[PUT_FILES];
    Gi__Agent__VolumeFile *pointers[PUT_FILES];
    size_t bytes;
};

static int send_batch(struct agent_client *c, struct batch *b, int timeout_ms, struct gi_error *err)
{
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.op_case = GI__AGENT__TO_AGENT__OP_PUT_FILES;
    msg.put_files = &b->put;
    int rc = client_simple_call(c, &msg, timeout_ms, err);
    b->put.n_files = 0;
    b->bytes = 0;
    return rc;
}

static size_t add_part(struct batch *b, const struct agent_file *f, size_t offset)
{
    size_t room = PUT_BYTES - b->bytes;
    size_t n = f->len - offset < room ? f->len - offset : room;
    Gi__Agent__VolumeFile *part = &b->parts[b->put.n_files];
    gi__agent__volume_file__init(part);
    part->path = (char *)f->path;
    part->offset = offset;
    part->data.data = (uint8_t *)f->data + offset;
    part->data.len = n;
    part->mode = f->mode;
    part->uid = f->uid;
    part->gid = f->gid;
    b->pointers[b->put.n_files++] = part;
    b->bytes += n + strlen(f->path);
    return n;
}

static int put_file(struct agent_client *c, struct batch *b, const struct agent_file *f,
                    int timeout_ms, struct gi_error *err)
{
    size_t at = 0;
    do {
        at += add_part(b, f, at);
        if (b->put.n_files < PUT_FILES && b->bytes < PUT_BYTES)
            continue;
        int rc = send_batch(c, b, timeout_ms, err);
        if (rc < 0)
            return rc;
    } while (at < f->len);
    return 0;
}

static int check_files(const struct agent_file *files, size_t n, struct gi_error *err)
{
    size_t total = 0;
    if (n > AGENT_FILES_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%zu files (limit %u)", n, AGENT_FILES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (!agent_file_path_valid(files[i].path))
            return gi_fail(err, GI_INVALID_ARGUMENT, "bad path in a volume");
        if (files[i].len > AGENT_VOLUME_MAX - total)
            return gi_fail(err, GI_INVALID_ARGUMENT, "over %u bytes of files", AGENT_VOLUME_MAX);
        total += files[i].len;
    }
    return 0;
}

int agent_put_files(struct agent_client *c, const char *volume, bool swap,
                    const struct agent_file *files, size_t n, int timeout_ms, struct gi_error *err)
{
    int rc = check_files(files, n, err);
    cleanup_free struct batch *b = rc == 0 ? calloc(1, sizeof(*b)) : NULL;
    if (rc < 0)
        return rc;
    uint64_t transaction = 0;
    if (!b || getrandom(&transaction, sizeof(transaction), 0) != sizeof(transaction))
        return gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for files");
    gi__agent__put_files__init(&b->put);
    b->put.volume = (char *)volume;
    b->put.swap = swap;
    b->put.transaction = transaction;
    b->put.files = b->pointers;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = put_file(c, b, &files[i], timeout_ms, err);
    if (rc < 0 || (!swap && !b->put.n_files && n))
        return rc;
    b->put.last = true;
    return send_batch(c, b, timeout_ms, err);
}

/* ---- read ---- */

int agent_read_file(struct agent_client *c, const char *volume, const char *path, size_t max,
                    int timeout_ms, char **ret_data, size_t *ret_len, struct gi_error *err)
{
    Gi__Agent__ReadFile read = GI__AGENT__READ_FILE__INIT;
    read.volume = (char *)volume;
    read.path = (char *)path;
    read.max_bytes = max < AGENT_READ_MAX ? max : AGENT_READ_MAX;
    Gi__Agent__ToAgent msg = GI__AGENT__TO_AGENT__INIT;
    msg.id = 1;
    msg.op_case = GI__AGENT__TO_AGENT__OP_READ_FILE;
    msg.read_file = &read;
    int rc = agent_check_to(&msg, err);
    if (rc < 0)
        return rc;
    struct pending p;
    pending_init(&p, GI__AGENT__REPLY__RESULT_FILE);
    rc = client_call(c, &msg, &p, timeout_ms, err);
    if (rc == 0) {
        const ProtobufCBinaryData *d = &p.reply->reply->file->data;
        size_t len = d->len < read.max_bytes ? d->len : (size_t)read.max_bytes;
        char *copy = malloc(len + 1);
        if (!copy) {
            rc = gi_fail(err, GI_RESOURCE_EXHAUSTED, "no memory for a file");
        } else {
            if (len)
                memcpy(copy, d->data, len);
            copy[len] = '\0';
            *ret_data = copy;
            *ret_len = len;
        }
    }
    pending_free(&p);
    return rc;
}
