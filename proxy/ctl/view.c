/* SPDX-License-Identifier: Apache-2.0 */
#include "view.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

void view_free(struct view *v)
{
    for (uint32_t i = 0; i < v->n; i++)
        free(v->zones[i].clients);
    free(v->zones);
    free(v->info);
    *v = VIEW_NONE;
}

static int fetch_zone(struct control_client *c, uint32_t number, struct zone_view *ret,
                      struct gi_error *err)
{
    int rc = control_zone_info(c, number, &ret->info, err);
    if (rc == 0)
        rc = control_zone_stats(c, number, &ret->stats, err);
    if (rc == 0)
        rc = control_list_clients(c, number, &ret->clients, &ret->n_clients, err);
    return rc;
}

static bool is_named(const struct zone_view *z, const char *name)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", (unsigned)z->info.zone);
    return strcmp(name, number) == 0 || strcmp(name, z->info.label) == 0;
}

/* FOUND[i]: a zone of that name has been seen. */
static bool is_wanted(const struct zone_view *z, char *const *wanted, int n, bool *found)
{
    bool is = n == 0;
    for (int i = 0; i < n; i++) {
        bool named = is_named(z, wanted[i]);
        found[i] = found[i] || named;
        is = is || named;
    }
    return is;
}

static int fetch_zones(struct control_client *c, char *const *wanted, int n, struct view *v,
                       struct gi_error *err)
{
    cleanup_free uint32_t *numbers = NULL;
    cleanup_free bool *found = calloc((size_t)n + 1, sizeof(*found));
    uint32_t all = 0;
    int rc =
        found ? control_list_zones(c, &numbers, &all, err) : gi_fail_errno(err, ENOMEM, "zones");
    if (rc < 0 || !found)
        return rc;
    v->zones = calloc((size_t)all + 1, sizeof(*v->zones));
    if (!v->zones)
        return gi_fail_errno(err, ENOMEM, "zones");
    for (uint32_t i = 0; i < all; i++) {
        struct zone_view z = {.n_clients = 0};
        rc = fetch_zone(c, numbers[i], &z, err);
        if (rc == 0 && is_wanted(&z, wanted, n, found))
            v->zones[v->n++] = z;
        else
            free(z.clients);
        if (rc < 0 && rc != -GI_NOT_FOUND) /* dropped since it was listed */
            return rc;
    }
    for (int i = 0; i < n; i++) {
        if (!found[i])
            return gi_fail(err, GI_NOT_FOUND, "there is no zone \"%.100s\"", wanted[i]);
    }
    return 0;
}

int view_fetch(struct control_client *c, char *const *wanted, int n, struct view *ret_view,
               struct gi_error *err)
{
    struct view v = VIEW_NONE;
    int rc = control_info(c, &v.info, err);
    if (rc == 0)
        rc = fetch_zones(c, wanted, n, &v, err);
    v.at_ns = gi_monotonic_ns();
    if (rc == 0)
        *ret_view = v;
    else
        view_free(&v);
    return rc;
}
