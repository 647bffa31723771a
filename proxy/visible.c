/* SPDX-License-Identifier: Apache-2.0 */
#include "visible.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "idm/handover.h"

#define LIST  "CUDA_VISIBLE_DEVICES"
#define ORDER "CUDA_DEVICE_ORDER"

struct word {
    const char *at;
    size_t len;
};

/* The word at *AT, without spaces, and what is behind its comma; false: there is none. */
static bool next_word(const char **at, struct word *ret)
{
    if (!**at)
        return false;
    *at += strspn(*at, " ");
    ret->at = *at;
    ret->len = strcspn(*at, ",");
    *at += ret->len;
    *at += **at == ',';
    while (ret->len && ret->at[ret->len - 1] == ' ')
        ret->len--;
    return true;
}

static bool is_number(const struct word *w, unsigned *ret)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->len; i++) {
        if (w->at[i] < '0' || w->at[i] > '9' || n > 100000)
            return false;
        n = n * 10 + (unsigned)(w->at[i] - '0');
    }
    *ret = n;
    return w->len > 0;
}

/* The operator's word that W stands for. */
static bool find_word(const char *operators, const struct word *w, struct word *ret)
{
    unsigned place, i = 0;
    bool number = is_number(w, &place);
    for (const char *at = operators; next_word(&at, ret); i++) {
        if (number ? i == place : ret->len == w->len && strncmp(ret->at, w->at, w->len) == 0)
            return true;
    }
    return false;
}

int visible_compose(const char *operators, const char *list, char *ret, size_t size)
{
    struct word w, theirs;
    size_t len = 0;
    if (!operators) {
        if (strlen(list) >= size)
            return -1;
        memcpy(ret, list, strlen(list) + 1);
        return 0;
    }
    ret[0] = '\0';
    /* An entry that isn't there ends the list, as for the driver. */
    while (next_word(&list, &w) && find_word(operators, &w, &theirs)) {
        if (theirs.len + 2 > size - len)
            return -1;
        if (len)
            ret[len++] = ',';
        memcpy(ret + len, theirs.at, theirs.len);
        len += theirs.len;
        ret[len] = '\0';
    }
    return 0;
}

int visible_apply(uint32_t flags, const char *list, struct gi_error *err)
{
    char text[1024];
    const char *operators = getenv(LIST);
    struct handover_devices d = {.flags = flags};
    if (strlen(list) >= sizeof(d.list))
        return gi_fail(err, GI_INVALID_ARGUMENT, "the list of devices is too long");
    memcpy(d.list, list, strlen(list) + 1);
    if (!handover_good_devices(&d))
        return gi_fail(err, GI_INVALID_ARGUMENT, "a list of devices that is none");
    /* In another order the operator's numbers would be other devices. */
    if ((flags & HANDOVER_PCI_ORDER) && !operators && setenv(ORDER, "PCI_BUS_ID", 1) < 0)
        return gi_fail_errno(err, errno, ORDER);
    if (!(flags & HANDOVER_HAS_LIST))
        return 0;
    if (visible_compose(operators, list, text, sizeof(text)) < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "the list of devices is too long");
    return setenv(LIST, text, 1) < 0 ? gi_fail_errno(err, errno, LIST) : 0;
}
