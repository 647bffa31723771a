/* SPDX-License-Identifier: Apache-2.0 */
/* The client's choice among what the operator has given. */
#include "visible.h"

#include <string.h>

#include "base/cleanup.h"
#include "minitest.h"

static void test_composed(void)
{
    static const struct {
        const char *operators, *list, *both;
    } all[] = {
        {NULL, "1, 0", "1, 0"},
        {NULL, "", ""},
        {"3,1", "0", "3"},
        {"3,1", "1,0", "1,3"},
        {" 3 , 1 ", " 1 ,0", "1,3"},
        {"3,1", "", ""},
        {"3,1", "2", ""},
        {"3,1", "0,2,1", "3"},
        {"3,1", "3", ""},
        {"3,1", "-1", ""},
        {"3,1", "99999999999999999999", ""},
        {"", "0", ""},
        {"GPU-a,GPU-b", "1", "GPU-b"},
        {"GPU-a,GPU-b", "GPU-b,GPU-c,0", "GPU-b"},
        {"GPU-a,GPU-b", "GPU", ""},
        {"3,1", "GPU-a", ""},
        {"3,1", "0,,1", "3"},
    };
    for (size_t i = 0; i < GI_ARRAY_SIZE(all); i++) {
        char both[64] = "?";
        EXPECT_EQ(visible_compose(all[i].operators, all[i].list, both, sizeof(both)), 0);
        if (strcmp(both, all[i].both) != 0)
            fprintf(stderr, "case %zu: \"%s\"\n", i, both);
        EXPECT(strcmp(both, all[i].both) == 0);
    }
}

static void test_too_long(void)
{
    char both[8];
    EXPECT_EQ(visible_compose(NULL, "1234567", both, sizeof(both)), 0);
    EXPECT_EQ(visible_compose(NULL, "12345678", both, sizeof(both)), -1);
    EXPECT_EQ(visible_compose("GPU-abcdef", "0", both, sizeof(both)), -1);
    EXPECT_EQ(visible_compose("1,2,3,4,5,6", "0,1,2,3,4,5", both, sizeof(both)), -1);
}

int main(void)
{
    MT_RUN(test_composed);
    MT_RUN(test_too_long);
    return mt_done();
}
