/* SPDX-License-Identifier: Apache-2.0 */
/* Records: what was written is read; everything else is refused, whatever it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "rpc/pb.h"
#include "state/record.h"

static Gi__State__PodRecord *make_pod(void)
{
    Gi__State__PodRecord *r = pb_new(&gi__state__pod_record__descriptor);
    pb_set(&r->id, "gi-1");
    pb_set(&r->handler, "gpu-isolated");
    r->created_ns = 123456789;
    r->zone = 7;
    r->gpu = true;
    r->attached = true;
    pb_push_string(&r->ips, &r->n_ips, "10.0.0.1");
    r->config = pb_new(&runtime__v1__pod_sandbox_config__descriptor);
    r->config->metadata = pb_new(&runtime__v1__pod_sandbox_metadata__descriptor);
    pb_set(&r->config->metadata->name, "a pod");
    return r;
}

static void encode(uint8_t **ret, size_t *ret_len)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_pb void *pod = make_pod();
    assert_int_equal(record_encode(RECORD_POD, pod, ret, ret_len, &err), 0);
}

static void a_record_is_read_as_written(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_free uint8_t *data = NULL;
    size_t len = 0;
    cleanup_pb void *back = NULL;
    encode(&data, &len);
    assert_int_equal(record_decode(RECORD_POD, data, len, &back, &err), 0);
    const Gi__State__PodRecord *r = back;
    assert_string_equal(r->id, "gi-1");
    assert_int_equal(r->created_ns, 123456789);
    assert_int_equal(r->zone, 7);
    assert_true(r->gpu && r->attached);
    assert_string_equal(r->ips[0], "10.0.0.1");
    assert_string_equal(r->config->metadata->name, "a pod");
}

static void no_shorter_record_is_read(void **state)
{
    cleanup_free uint8_t *data = NULL;
    size_t len = 0;
    encode(&data, &len);
    for (size_t n = 0; n < len; n++) {
        struct gi_error err = GI_ERROR_INIT;
        void *back = NULL;
        /* A copy of that length, so that a byte too far is seen. */
        uint8_t *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, data, n);
        assert_int_equal(record_decode(RECORD_POD, copy, n, &back, &err), -GI_DATA_LOSS);
        assert_null(back);
        free(copy);
    }
}

static void no_flipped_bit_goes_unnoticed(void **state)
{
    cleanup_free uint8_t *data = NULL;
    size_t len = 0;
    encode(&data, &len);
    for (size_t i = 0; i < len * 8; i++) {
        struct gi_error err = GI_ERROR_INIT;
        void *back = NULL;
        data[i / 8] ^= (uint8_t)(1u << (i % 8));
        int rc = record_decode(RECORD_POD, data, len, &back, &err);
        /* The last four bytes of the header say nothing. */
        if (i / 8 >= 20 && i / 8 < RECORD_HEADER)
            pb_free(back);
        else
            assert_true(rc == -GI_DATA_LOSS || rc == -GI_UNIMPLEMENTED);
        data[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
}

static void other_kinds_and_newer_versions_are_refused(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_free uint8_t *data = NULL;
    size_t len = 0;
    void *back = NULL;
    encode(&data, &len);
    assert_int_equal(record_decode(RECORD_CONTAINER, data, len, &back, &err), -GI_DATA_LOSS);
    data[8]++; /* the version's low byte */
    assert_int_equal(record_decode(RECORD_POD, data, len, &back, &err), -GI_UNIMPLEMENTED);
    assert_non_null(strstr(err.message, "version 2"));
}

static void what_lacks_its_config_is_refused(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    cleanup_pb void *empty = pb_new(&gi__state__pod_record__descriptor);
    cleanup_free uint8_t *data = NULL;
    size_t len = 0;
    void *back = NULL;
    assert_int_equal(record_encode(RECORD_POD, empty, &data, &len, &err), 0);
    assert_int_equal(record_decode(RECORD_POD, data, len, &back, &err), -GI_DATA_LOSS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_as_written),
        cmocka_unit_test(no_shorter_record_is_read),
        cmocka_unit_test(no_flipped_bit_goes_unnoticed),
        cmocka_unit_test(other_kinds_and_newer_versions_are_refused),
        cmocka_unit_test(what_lacks_its_config_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
