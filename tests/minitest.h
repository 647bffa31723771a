/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test harness of the GPU rooms, whose tests may need nothing but libc
 * (everywhere else the tests use cmocka). A test is a void function; EXPECT
 * records a failure and goes on, REQUIRE leaves the test. main() is
 *   int main(void) { MT_RUN(test_a); MT_RUN(test_b); return mt_done(); }
 */
#ifndef GI_MINITEST_H
#define GI_MINITEST_H

#include <stdio.h>

static unsigned mt_failed;
static unsigned mt_ran;

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: expected %s\n", __FILE__, __LINE__, __func__, #cond);      \
            mt_failed++;                                                                           \
        }                                                                                          \
    } while (0)

#define EXPECT_EQ(a, b)                                                                            \
    do {                                                                                           \
        long long mt_a = (long long)(a), mt_b = (long long)(b);                                    \
        if (mt_a != mt_b) {                                                                        \
            fprintf(stderr, "%s:%d: %s: %s is %lld, expected %lld\n", __FILE__, __LINE__,          \
                    __func__, #a, mt_a, mt_b);                                                     \
            mt_failed++;                                                                           \
        }                                                                                          \
    } while (0)

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: required %s\n", __FILE__, __LINE__, __func__, #cond);      \
            mt_failed++;                                                                           \
            return;                                                                                \
        }                                                                                          \
    } while (0)

#define MT_RUN(test)                                                                               \
    do {                                                                                           \
        unsigned mt_before = mt_failed;                                                            \
        test();                                                                                    \
        mt_ran++;                                                                                  \
        printf("%s %s\n", mt_failed == mt_before ? "ok  " : "FAIL", #test);                        \
        fflush(stdout);                                                                            \
    } while (0)

static inline int mt_done(void)
{
    printf("%u tests, %u failed checks\n", mt_ran, mt_failed);
    return mt_failed ? 1 : 0;
}

#endif
