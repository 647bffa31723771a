/* SPDX-License-Identifier: Apache-2.0 */
/* PCI addresses of the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "xen/xen_driver.h"

static void addresses_are_read(void **state)
{
    struct gi_error err = GI_ERROR_INIT;
    libxl_device_pci p;
    assert_int_equal(pci_parse("0000:01:00.0", &p, &err), 0);
    assert_int_equal(p.domain, 0);
    assert_int_equal(p.bus, 1);
    assert_int_equal(p.dev, 0);
    assert_int_equal(p.func, 0);
    assert_int_equal(pci_parse("aBcD:fE:1f.7", &p, &err), 0);
    assert_int_equal(p.domain, 0xabcd);
    assert_int_equal(p.bus, 0xfe);
    assert_int_equal(p.dev, 0x1f);
    assert_int_equal(p.func, 7);
}

static void what_is_none_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "01:00.0",
        "0000:01:00",
        "0000:01:00.",
        "0000:01:00.8",
        "0000:01:20.0",
        "0000:1:00.0",
        "00000:01:00.0",
        "0000:01:00.00",
        "0000:01:00.0 ",
        " 0000:01:00.0",
        "0000:01:00.g",
        "-000:01:00.0",
        "0000.01.00.0",
        "0x00:01:00.0",
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(bad); i++) {
        struct gi_error err = GI_ERROR_INIT;
        libxl_device_pci p = {.bus = 77};
        if (pci_parse(bad[i], &p, &err) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(err.code, GI_INVALID_ARGUMENT);
        assert_int_equal(p.bus, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read),
        cmocka_unit_test(what_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
