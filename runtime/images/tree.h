/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names inside an image's root folder, resolved with no way out of it.
 *
 * Every lookup is one openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
 * RESOLVE_NO_XDEV against the root's descriptor: a symbolic link on the way is
 * followed as it would be inside the container, never onto the host. The last
 * component is never followed; callers act on (parent descriptor, name).
 * A folder's mtime is put back after its contents change, so that only the
 * image decides it. One tree is used by one thread.
 */
#ifndef GI_IMAGES_TREE_H
#define GI_IMAGES_TREE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Levels below the root, also after symbolic links were followed: removing a
 * tree holds one descriptor a level. */
#define TREE_MAX_DEPTH 200

struct tree_path {
    char parent[PATH_MAX]; /* "" or "a/b" */
    char name[NAME_MAX + 1];
};

/* RAW without "", "." and leading "/"; "" is the root itself (empty name).
 * INVALID_ARGUMENT for "..", too long and too deep. */
int tree_path_parse(const char *raw, struct tree_path *ret_path, struct gi_error *err);

struct tree;

/* ROOT_FD is borrowed. */
int tree_new(int root_fd, struct tree **ret_tree, struct gi_error *err);
void tree_free(struct tree *t);
GI_DEFINE_CLEANUP(struct tree *, tree_free);
#define cleanup_tree __attribute__((cleanup(tree_freep)))

/* A new layer starts: nothing counts as made by it yet. */
void tree_next_layer(struct tree *t);

/* The parent folder of PATH, made (0755, root) where missing if CREATE, else
 * NOT_FOUND. The descriptor belongs to the tree and lives until the next call
 * on the tree. Use the root itself with an empty PATH->parent. */
int tree_parent(struct tree *t, const struct tree_path *path, bool create, int *ret_fd,
                struct gi_error *err);

/* Forgets the folder last used (after something changed it by other means). */
void tree_flush(struct tree *t);

/* Notes that the current layer made NAME in the folder DIR_FD. */
int tree_mark(struct tree *t, int dir_fd, const char *name, struct gi_error *err);

/* Removes NAME with all below it. */
int tree_remove(struct tree *t, int dir_fd, const char *name, struct gi_error *err);

/* What a whiteout does: removes from NAME (and below) all that lower layers
 * made. With KEEP_SELF (opaque) NAME itself, a folder, stays. */
int tree_hide(struct tree *t, int dir_fd, const char *name, bool keep_self, struct gi_error *err);

/* openat2 below ROOT_FD as above; PATH "" is the root. fd or -errno. */
int tree_open(int root_fd, const char *path, int flags);

#endif
