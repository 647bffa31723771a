/* SPDX-License-Identifier: Apache-2.0 */
/* A driver domain's way to its device files: the kernel's texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nvidia.h"

static void options_are_the_modules_words(void **state)
{
    char out[64];
    assert_int_equal(nvidia_options("quiet nvidia.A=1 nvidia_x.B=2 nvidia.C=d,e -- --zone 7\n",
                                    "nvidia", out, sizeof(out)),
                     0);
    assert_string_equal(out, "A=1 C=d,e");
    assert_int_equal(nvidia_options("quiet", "nvidia", out, sizeof(out)), 0);
    assert_string_equal(out, "");
    assert_int_equal(nvidia_options("", "nvidia", out, sizeof(out)), 0);
    assert_int_equal(nvidia_options("nvidia.A=1 nvidia.B=2", "nvidia", out, 8), 0);
    assert_string_equal(out, "A=1 B=2");
    assert_int_equal(nvidia_options("nvidia.A=1 nvidia.B=2", "nvidia", out, 7), -1);
}

static void majors_are_those_of_character_devices(void **state)
{
    static const char text[] = "Character devices:\n  1 mem\n195 nvidia-frontend\n"
                               "195 nvidiactl\n511 nvidia-uvm\n\nBlock devices:\n  7 loop\n";
    assert_int_equal(nvidia_major(text, "nvidia-uvm"), 511);
    assert_int_equal(nvidia_major(text, "mem"), 1);
    assert_int_equal(nvidia_major(text, "nvidia"), -1);
    assert_int_equal(nvidia_major(text, "loop"), -1);
    assert_int_equal(nvidia_major("", "loop"), -1);
}

static void a_gpu_says_its_minor(void **state)
{
    assert_int_equal(nvidia_minor("Model: \t NVIDIA H100\nDevice Minor: \t 3\nBlacklisted:\t No\n"),
                     3);
    assert_int_equal(nvidia_minor("Model: \t NVIDIA H100\n"), -1);
    assert_int_equal(nvidia_minor("Device Minor: ?"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_the_modules_words),
        cmocka_unit_test(majors_are_those_of_character_devices),
        cmocka_unit_test(a_gpu_says_its_minor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
