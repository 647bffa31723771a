/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a container runs as, by the image's own passwd and group files. Same
 * answers as runc's user package gives, minus its generosity with numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "images.h"
#include "tree.h"

#define MAX_FILE   (4u << 20)
#define MAX_GROUPS 1024
#define MAX_ID     0x7fffffffu /* as the kernel's and Docker's tools agree on */
#define FIELDS     8

/* Digits only, at most MAX_ID. */
static bool parse_id(const char *s, uint32_t *ret_id)
{
    uint64_t value = 0;
    if (!*s || strlen(s) > 10)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        value = value * 10 + (uint64_t)(*s - '0');
    }
    if (value > MAX_ID)
        return false;
    *ret_id = (uint32_t)value;
    return true;
}

static bool all_digits(const char *s)
{
    return *s && s[strspn(s, "0123456789")] == '\0';
}

/* NAME below ROOTFS as text; absent or no regular file: an empty one. */
static int read_database(int root, const char *name, char **ret_text, struct gi_error *err)
{
    cleanup_close int fd = tree_open(root, name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        *ret_text = strdup("");
        return *ret_text ? 0 : gi_fail_errno(err, ENOMEM, "%s", name);
    }
    if (st.st_size > MAX_FILE)
        return gi_fail(err, GI_INVALID_ARGUMENT, "the image's /%s is larger than %u bytes", name,
                       MAX_FILE);
    char *text = calloc(1, (size_t)st.st_size + 1);
    if (!text)
        return gi_fail_errno(err, ENOMEM, "%s", name);
    if (gi_read_full(fd, text, (size_t)st.st_size) < 0) {
        free(text);
        return gi_fail_errno(err, EIO, "read the image's /%s", name);
    }
    *ret_text = text;
    return 0;
}

/* Cuts the next line off *P into its ":" fields; their number, -1 at the end. */
static int next_line(char **p, char *fields[FIELDS])
{
    for (;;) {
        if (!**p)
            return -1;
        char *line = *p;
        size_t len = strcspn(line, "\n");
        *p += len + (line[len] == '\n');
        line[len] = '\0';
        if (!*line || *line == '#')
            continue;
        int n = 0;
        for (char *field = line; field && n < FIELDS; n++) {
            fields[n] = field;
            field = strchr(field, ':');
            if (field)
                *field++ = '\0';
        }
        return n;
    }
}

struct who {
    char name[256]; /* of the passwd entry; "" when there is none */
    bool found;
    uint32_t uid, gid;
    char *home;
};

/* USER: a name or number, "" for uid 0. A name wins over an equal number. */
static int find_user(char *passwd, const char *user, struct who *w, struct gi_error *err)
{
    char *f[FIELDS];
    uint32_t number = 0;
    bool is_number = !*user || parse_id(user, &number);
    for (int n; (n = next_line(&passwd, f)) >= 0;) {
        uint32_t uid;
        uint32_t gid;
        bool named = n > 0 && *user && strcmp(f[0], user) == 0;
        if (n < 4 || !parse_id(f[2], &uid) || !parse_id(f[3], &gid)) {
            /* Never a guess: a broken number isn't 0. */
            if (named)
                return gi_fail(err, GI_INVALID_ARGUMENT,
                               "user \"%.100s\" has a bad entry in the image's /etc/passwd", user);
            continue;
        }
        if (!named && (w->found || !is_number || uid != number))
            continue;
        w->found = true;
        w->uid = uid;
        w->gid = gid;
        snprintf(w->name, sizeof(w->name), "%s", f[0]);
        free(w->home);
        w->home = strdup(n > 5 ? f[5] : "");
        if (!w->home)
            return gi_fail_errno(err, ENOMEM, "user");
        if (named)
            return 0;
    }
    if (w->found)
        return 0;
    if (!is_number)
        return all_digits(user)
                   ? gi_fail(err, GI_INVALID_ARGUMENT, "user id \"%.100s\" is out of range", user)
                   : gi_fail(err, GI_NOT_FOUND, "no user \"%.100s\" in the image's /etc/passwd",
                             user);
    w->uid = number;
    return 0;
}

static int find_group(char *groups, const char *group, uint32_t *ret_gid, struct gi_error *err)
{
    char *f[FIELDS];
    for (int n; (n = next_line(&groups, f)) >= 0;) {
        if (n < 1 || strcmp(f[0], group) != 0)
            continue;
        if (n < 3 || !parse_id(f[2], ret_gid))
            return gi_fail(err, GI_INVALID_ARGUMENT,
                           "group \"%.100s\" has a bad entry in the image's /etc/group", group);
        return 0;
    }
    if (parse_id(group, ret_gid))
        return 0;
    return all_digits(group)
               ? gi_fail(err, GI_INVALID_ARGUMENT, "group id \"%.100s\" is out of range", group)
               : gi_fail(err, GI_NOT_FOUND, "no group \"%.100s\" in the image's /etc/group", group);
}

static bool lists_member(char *members, const char *name)
{
    char *save = NULL;
    for (char *m = strtok_r(members, ",", &save); m; m = strtok_r(NULL, ",", &save)) {
        if (strcmp(m, name) == 0)
            return true;
    }
    return false;
}

/* The groups that name the user as a member. */
static int find_groups(char *groups, const char *name, struct images_user *u, struct gi_error *err)
{
    char *f[FIELDS];
    u->groups = calloc(MAX_GROUPS, sizeof(*u->groups));
    if (!u->groups)
        return gi_fail_errno(err, ENOMEM, "groups");
    for (int n; (n = next_line(&groups, f)) >= 0;) {
        uint32_t gid;
        if (n < 4 || !parse_id(f[2], &gid) || !lists_member(f[3], name))
            continue;
        if (u->n_groups == MAX_GROUPS)
            return gi_fail(err, GI_INVALID_ARGUMENT, "user \"%.100s\" is in more than %d groups",
                           name, MAX_GROUPS);
        u->groups[u->n_groups++] = gid;
    }
    return 0;
}

static int resolve(int root, const char *user, const char *group, struct images_user *u,
                   struct gi_error *err)
{
    cleanup_free char *passwd = NULL;
    cleanup_free char *groups = NULL;
    struct who w = {.home = NULL};
    int rc = read_database(root, "etc/passwd", &passwd, err);
    if (rc == 0)
        rc = read_database(root, "etc/group", &groups, err);
    if (rc == 0)
        rc = find_user(passwd, user, &w, err);
    u->uid = w.uid;
    u->gid = w.gid;
    u->home = w.home;
    if (rc < 0)
        return rc;
    if (!u->home || !*u->home) {
        free(u->home);
        u->home = strdup("/");
        if (!u->home)
            return gi_fail_errno(err, ENOMEM, "user");
    }
    if (group)
        return find_group(groups, group, &u->gid, err);
    return w.found ? find_groups(groups, w.name, u, err) : 0;
}

int images_resolve_user(const char *rootfs, const char *user, struct images_user *ret_user,
                        struct gi_error *err)
{
    char text[512];
    if (!user)
        user = "";
    if (strlen(user) >= sizeof(text))
        return gi_fail(err, GI_INVALID_ARGUMENT, "user \"%.60s...\" is too long", user);
    memcpy(text, user, strlen(user) + 1);
    char *group = strchr(text, ':');
    if (group)
        *group++ = '\0';
    if (group && !*group) /* "user:" */
        group = NULL;
    cleanup_close int root = open(rootfs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return gi_fail_errno(err, errno, "open %s", rootfs);
    struct images_user u = {0};
    int rc = resolve(root, text, group, &u, err);
    if (rc < 0) {
        images_user_free(&u);
        return rc;
    }
    *ret_user = u;
    return 0;
}

void images_user_free(struct images_user *u)
{
    free(u->groups);
    free(u->home);
    memset(u, 0, sizeof(*u));
}
