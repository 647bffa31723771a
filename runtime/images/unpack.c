/* SPDX-License-Identifier: Apache-2.0 */
#include "unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/log.h"
#include "stream.h"
#include "tree.h"

#define DEFAULT_MAX_BYTES   (64ULL << 30)
#define DEFAULT_MAX_ENTRIES (4ULL << 20)
#define DEFAULT_MAX_RATIO   1000
#define DEFAULT_RATIO_GRACE (256ULL << 20)
/* Stream bytes one header may take: names, xattrs and sparse maps live in
 * memory while an entry is read, and libarchive recurses for each extension header. */
#define MAX_HEADER_BYTES (2u << 20)
#define MAX_XATTRS       64
#define MAX_XATTR_SIZE   (64u << 10)

struct unpack {
    struct unpack_limits limits;
    bool (*cancelled)(void *data);
    void *data;
    int root_fd;
    struct tree *tree;
    uint64_t bytes;
    uint64_t entries;
    locale_t c_locale;
    /* The layer being read. */
    struct stream *stream;
    uint64_t header_end; /* stream position a header may read to; 0: any */
    struct gi_error stream_err;
    unsigned dropped_xattrs;
};

int unpack_new(int root_fd, const struct unpack_limits *limits, bool (*cancelled)(void *data),
               void *data, struct unpack **ret_unpack, struct gi_error *err)
{
    cleanup_unpack struct unpack *u = calloc(1, sizeof(*u));
    if (!u)
        return gi_fail_errno(err, ENOMEM, "unpack");
    u->limits = *limits;
    if (!u->limits.max_bytes)
        u->limits.max_bytes = DEFAULT_MAX_BYTES;
    if (!u->limits.max_entries)
        u->limits.max_entries = DEFAULT_MAX_ENTRIES;
    if (!u->limits.max_ratio)
        u->limits.max_ratio = DEFAULT_MAX_RATIO;
    if (!u->limits.ratio_grace)
        u->limits.ratio_grace = DEFAULT_RATIO_GRACE;
    u->cancelled = cancelled;
    u->data = data;
    u->root_fd = root_fd;
    u->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (u->c_locale == (locale_t)0)
        return gi_fail_errno(err, errno, "newlocale");
    int rc = tree_new(root_fd, &u->tree, err);
    if (rc < 0)
        return rc;
    *ret_unpack = TAKE_PTR(u);
    return 0;
}

void unpack_free(struct unpack *u)
{
    if (!u)
        return;
    tree_free(u->tree);
    if (u->c_locale != (locale_t)0)
        freelocale(u->c_locale);
    free(u);
}

static la_ssize_t read_stream(struct archive *a, void *data, const void **ret_buf)
{
    struct unpack *u = data;
    if (u->header_end && stream_position(u->stream) > u->header_end) {
        gi_fail(&u->stream_err, GI_INVALID_ARGUMENT, "an entry's header is larger than %u bytes",
                MAX_HEADER_BYTES);
    } else if (u->cancelled && u->cancelled(u->data)) {
        gi_fail(&u->stream_err, GI_CANCELLED, "unpacking was cancelled");
    } else {
        ssize_t n = stream_read(u->stream, ret_buf, &u->stream_err);
        if (n >= 0)
            return n;
    }
    archive_set_error(a, EIO, "stream");
    return -1;
}

static int archive_failed(struct unpack *u, struct archive *a, struct gi_error *err)
{
    if (u->stream_err.code != GI_OK) {
        if (err)
            *err = u->stream_err;
        return -(int)u->stream_err.code;
    }
    const char *why = archive_error_string(a);
    return gi_fail(err, GI_INVALID_ARGUMENT, "bad tar archive: %.300s", why ? why : "unknown");
}

static int os_failed(struct gi_error *err, int errnum, const char *what)
{
    return gi_fail_errno(err, errnum, "%.200s", what);
}

/* ---- metadata ---- */

struct owner {
    uid_t uid;
    gid_t gid;
};

static int entry_owner(struct archive_entry *e, struct owner *ret_owner, struct gi_error *err)
{
    int64_t uid = archive_entry_uid(e);
    int64_t gid = archive_entry_gid(e);
    /* (uid_t)-1 means "leave it" to chown(2), so it isn't an owner either. */
    if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "owner %" PRId64 ":%" PRId64 " is out of range",
                       uid, gid);
    ret_owner->uid = (uid_t)uid;
    ret_owner->gid = (gid_t)gid;
    return 0;
}

static void entry_times(struct archive_entry *e, struct timespec ts[2])
{
    ts[1].tv_sec = archive_entry_mtime_is_set(e) ? archive_entry_mtime(e) : 0;
    ts[1].tv_nsec = archive_entry_mtime_is_set(e) ? archive_entry_mtime_nsec(e) : 0;
    if (ts[1].tv_nsec < 0 || ts[1].tv_nsec > 999999999)
        ts[1].tv_nsec = 0;
    ts[0] = ts[1];
}

static bool xattr_kept(const char *name)
{
    return strcmp(name, "security.capability") == 0 ||
           (strncmp(name, "user.", 5) == 0 && name[5] != '\0');
}

static int set_xattrs(struct unpack *u, struct archive_entry *e, int fd, struct gi_error *err)
{
    int count = archive_entry_xattr_reset(e);
    if (count > MAX_XATTRS)
        return gi_fail(err, GI_INVALID_ARGUMENT, "%d extended attributes; %d are allowed", count,
                       MAX_XATTRS);
    const char *name;
    const void *value;
    size_t size;
    while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
        if (!name || strlen(name) > XATTR_NAME_MAX || size > MAX_XATTR_SIZE)
            return gi_fail(err, GI_INVALID_ARGUMENT, "extended attribute is too large");
        if (!xattr_kept(name)) {
            u->dropped_xattrs++;
            continue;
        }
        if (fsetxattr(fd, name, value, size, 0) == 0)
            continue;
        /* Capabilities are what the image relies on; user.* is decoration that
         * not every filesystem stores. */
        if (name[0] == 'u' && (errno == EOPNOTSUPP || errno == ENOSPC || errno == E2BIG)) {
            u->dropped_xattrs++;
            continue;
        }
        if (errno == EINVAL)
            return gi_fail(err, GI_INVALID_ARGUMENT, "bad value of %s", name);
        return os_failed(err, errno, "set extended attribute");
    }
    return 0;
}

/* Owner, xattrs, mode, mtime of an open file or folder, in the order in which
 * one doesn't undo another (chown drops setuid and capabilities). */
static int set_metadata(struct unpack *u, struct archive_entry *e, int fd, struct gi_error *err)
{
    struct owner owner = {0, 0};
    struct timespec ts[2];
    int rc = entry_owner(e, &owner, err);
    if (rc < 0)
        return rc;
    if (fchown(fd, owner.uid, owner.gid) < 0)
        return os_failed(err, errno, "chown");
    rc = set_xattrs(u, e, fd, err);
    if (rc < 0)
        return rc;
    if (fchmod(fd, archive_entry_perm(e) & 07777) < 0)
        return os_failed(err, errno, "chmod");
    entry_times(e, ts);
    if (futimens(fd, ts) < 0)
        return os_failed(err, errno, "set mtime");
    return 0;
}

/* ---- one kind of entry each; DIR is the parent, NAME doesn't exist there ---- */

static int write_data(struct archive *a, struct unpack *u, int fd, int64_t size,
                      struct gi_error *err)
{
    int64_t end = 0;
    for (;;) {
        const void *data;
        size_t len;
        la_int64_t at;
        int rc = archive_read_data_block(a, &data, &len, &at);
        if (rc == ARCHIVE_EOF)
            break;
        if (rc < ARCHIVE_WARN)
            return archive_failed(u, a, err);
        if (at < end || at > size || (uint64_t)len > (uint64_t)(size - at))
            return gi_fail(err, GI_INVALID_ARGUMENT, "data lies outside the file");
        end = at + (int64_t)len;
        for (size_t done = 0; done < len;) {
            ssize_t n = pwrite(fd, (const char *)data + done, len - done, at + (off_t)done);
            if (n < 0 && errno != EINTR)
                return os_failed(err, errno, "write");
            done += n > 0 ? (size_t)n : 0;
        }
    }
    if (end < size && ftruncate(fd, size) < 0)
        return os_failed(err, errno, "set size");
    return 0;
}

static int make_file(struct unpack *u, struct archive *a, struct archive_entry *e, int dir,
                     const char *name, struct gi_error *err)
{
    int64_t size = archive_entry_size_is_set(e) ? archive_entry_size(e) : 0;
    if (size < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "negative size");
    if ((uint64_t)size > u->limits.max_bytes - u->bytes)
        return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                       "image unpacks to more than the %" PRIu64 " bytes allowed",
                       u->limits.max_bytes);
    u->bytes += (uint64_t)size;
    cleanup_close int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return os_failed(err, errno, "create");
    int rc = write_data(a, u, fd, size, err);
    return rc < 0 ? rc : set_metadata(u, e, fd, err);
}

static int make_folder(struct unpack *u, struct archive_entry *e, int dir, const char *name,
                       bool exists, struct gi_error *err)
{
    if (!exists && mkdirat(dir, name, 0700) < 0)
        return os_failed(err, errno, "mkdir");
    cleanup_close int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return os_failed(err, errno, "open");
    return set_metadata(u, e, fd, err);
}

static int make_symlink(struct archive_entry *e, int dir, const char *name, struct gi_error *err)
{
    struct owner owner = {0, 0};
    struct timespec ts[2];
    const char *target = archive_entry_symlink(e);
    if (!target || !*target || strlen(target) >= PATH_MAX)
        return gi_fail(err, GI_INVALID_ARGUMENT, "symbolic link without a usable target");
    int rc = entry_owner(e, &owner, err);
    if (rc < 0)
        return rc;
    if (symlinkat(target, dir, name) < 0)
        return os_failed(err, errno, "symlink");
    entry_times(e, ts);
    if (fchownat(dir, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        utimensat(dir, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
        return os_failed(err, errno, "owner of link");
    return 0;
}

static int make_fifo(struct archive_entry *e, int dir, const char *name, struct gi_error *err)
{
    struct owner owner = {0, 0};
    struct timespec ts[2];
    int rc = entry_owner(e, &owner, err);
    if (rc < 0)
        return rc;
    if (mkfifoat(dir, name, 0600) < 0)
        return os_failed(err, errno, "mkfifo");
    entry_times(e, ts);
    /* We made NAME a moment ago and are alone here: it is no symbolic link. */
    if (fchownat(dir, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(dir, name, archive_entry_perm(e) & 07777, 0) < 0 ||
        utimensat(dir, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
        return os_failed(err, errno, "fifo");
    return 0;
}

/* NAME may exist here and even be the link's target. */
static int make_hardlink(struct unpack *u, const char *target, const struct tree_path *path,
                         struct gi_error *err)
{
    struct tree_path to;
    int rc = tree_path_parse(target, &to, err);
    if (rc < 0)
        return gi_prefix(err, "hard link to");
    int dir;
    rc = tree_parent(u->tree, &to, false, &dir, err);
    if (rc == -GI_NOT_FOUND)
        return gi_fail(err, GI_INVALID_ARGUMENT, "hard link to \"%.200s\", which doesn't exist",
                       target);
    if (rc < 0)
        return gi_prefix(err, "hard link to \"%.200s\"", target);
    cleanup_close int held = openat(dir, to.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (!to.name[0] || held < 0 || fstat(held, &st) < 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "hard link to \"%.200s\", which doesn't exist",
                       target);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return gi_fail(err, GI_INVALID_ARGUMENT, "hard link to \"%.200s\", which is no file",
                       target);
    rc = tree_parent(u->tree, path, true, &dir, err);
    if (rc < 0)
        return rc;
    struct stat old;
    if (fstatat(dir, path->name, &old, AT_SYMLINK_NOFOLLOW) == 0) {
        if (old.st_ino == st.st_ino && old.st_dev == st.st_dev)
            return tree_mark(u->tree, dir, path->name, err);
        rc = tree_remove(u->tree, dir, path->name, err);
        if (rc < 0)
            return rc;
    }
    if (linkat(held, "", dir, path->name, AT_EMPTY_PATH) < 0)
        return os_failed(err, errno, "link");
    return tree_mark(u->tree, dir, path->name, err);
}

/* ---- devices, whiteouts ---- */

static bool usual_device(const char *parent, const char *name, mode_t type, dev_t dev)
{
    static const struct {
        const char *name;
        unsigned major, minor;
    } usual[] = {{"null", 1, 3},    {"zero", 1, 5}, {"full", 1, 7},    {"random", 1, 8},
                 {"urandom", 1, 9}, {"tty", 5, 0},  {"console", 5, 1}, {"ptmx", 5, 2}};
    if (strcmp(parent, "dev") != 0 || type != AE_IFCHR)
        return false;
    for (size_t i = 0; i < GI_ARRAY_SIZE(usual); i++) {
        if (strcmp(name, usual[i].name) == 0)
            return dev == makedev(usual[i].major, usual[i].minor);
    }
    return false;
}

#define WHITEOUT        ".wh."
#define WHITEOUT_META   ".wh..wh." /* aufs' own bookkeeping */
#define WHITEOUT_OPAQUE ".wh..wh..opq"

static int apply_whiteout(struct unpack *u, const struct tree_path *path, struct gi_error *err)
{
    bool opaque = strcmp(path->name, WHITEOUT_OPAQUE) == 0;
    if (!opaque && strncmp(path->name, WHITEOUT_META, strlen(WHITEOUT_META)) == 0)
        return 0;
    const char *victim = path->name + strlen(WHITEOUT);
    if (!*victim || strcmp(victim, ".") == 0 || strcmp(victim, "..") == 0)
        return gi_fail(err, GI_INVALID_ARGUMENT, "whiteout of nothing");
    int dir;
    struct gi_error lookup = GI_ERROR_INIT;
    int rc = tree_parent(u->tree, path, false, &dir, &lookup);
    if (rc == -GI_NOT_FOUND)
        return 0; /* nothing there to hide */
    if (rc < 0) {
        if (err)
            *err = lookup;
        return rc;
    }
    return tree_hide(u->tree, dir, opaque ? "." : victim, opaque, err);
}

/* ".wh.x/y": bookkeeping when it is aufs', else nonsense. */
static int whiteout_parent(const char *parent, bool *ret_skip, struct gi_error *err)
{
    *ret_skip = false;
    for (const char *p = parent; *p;) {
        size_t n = strcspn(p, "/");
        if (strncmp(p, WHITEOUT_META, strlen(WHITEOUT_META)) == 0)
            *ret_skip = true;
        else if (strncmp(p, WHITEOUT, strlen(WHITEOUT)) == 0)
            return gi_fail(err, GI_INVALID_ARGUMENT, "a whiteout used as a folder");
        p += n + (p[n] == '/');
    }
    return 0;
}

/* ---- the archive ---- */

static int root_entry(struct unpack *u, struct archive_entry *e, struct gi_error *err)
{
    if (archive_entry_filetype(e) != AE_IFDIR || archive_entry_hardlink(e))
        return gi_fail(err, GI_INVALID_ARGUMENT, "the root can only be a folder");
    tree_flush(u->tree);
    return make_folder(u, e, u->root_fd, ".", true, err);
}

/* Clears the way for a new NAME; *ret_keep: a folder that stays a folder. */
static int clear_old(struct unpack *u, int dir, const char *name, bool new_is_folder,
                     bool *ret_keep, struct gi_error *err)
{
    struct stat st;
    *ret_keep = false;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : os_failed(err, errno, "stat");
    if (new_is_folder && S_ISDIR(st.st_mode)) {
        *ret_keep = true;
        return 0;
    }
    return tree_remove(u->tree, dir, name, err);
}

static int extract(struct unpack *u, struct archive *a, struct archive_entry *e, const char *raw,
                   struct gi_error *err)
{
    struct tree_path path;
    int rc = tree_path_parse(raw, &path, err);
    if (rc < 0)
        return rc;
    if (!path.name[0])
        return root_entry(u, e, err);
    bool skip;
    rc = whiteout_parent(path.parent, &skip, err);
    if (rc < 0 || skip)
        return rc;
    if (strncmp(path.name, WHITEOUT, strlen(WHITEOUT)) == 0)
        return apply_whiteout(u, &path, err);
    const char *link = archive_entry_hardlink(e);
    if (link)
        return make_hardlink(u, link, &path, err);

    mode_t type = archive_entry_filetype(e);
    if (type == AE_IFSOCK)
        return 0;
    if (type == AE_IFCHR || type == AE_IFBLK) {
        if (usual_device(path.parent, path.name, type, archive_entry_rdev(e)))
            return 0;
        return gi_fail(err, GI_INVALID_ARGUMENT, "device nodes are not allowed in an image");
    }
    if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK && type != AE_IFIFO)
        return gi_fail(err, GI_INVALID_ARGUMENT, "unknown type of entry");

    int dir;
    bool keep = false;
    rc = tree_parent(u->tree, &path, true, &dir, err);
    if (rc == 0)
        rc = clear_old(u, dir, path.name, type == AE_IFDIR, &keep, err);
    if (rc == 0)
        rc = tree_mark(u->tree, dir, path.name, err);
    if (rc < 0)
        return rc;
    switch (type) {
    case AE_IFREG:
        return make_file(u, a, e, dir, path.name, err);
    case AE_IFLNK:
        return make_symlink(e, dir, path.name, err);
    case AE_IFIFO:
        return make_fifo(e, dir, path.name, err);
    default:
        return make_folder(u, e, dir, path.name, keep, err);
    }
}

static int read_entries(struct unpack *u, struct archive *a, struct gi_error *err)
{
    for (;;) {
        struct archive_entry *e;
        u->header_end = stream_position(u->stream) + MAX_HEADER_BYTES;
        int rc = archive_read_next_header(a, &e);
        u->header_end = 0;
        if (rc == ARCHIVE_EOF)
            return 0;
        /* A warning is, above all, a name that isn't text in the C locale. */
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return archive_failed(u, a, err);
        if (++u->entries > u->limits.max_entries)
            return gi_fail(err, GI_RESOURCE_EXHAUSTED,
                           "image has more than the %" PRIu64 " entries allowed",
                           u->limits.max_entries);
        const char *raw = archive_entry_pathname(e);
        if (!raw)
            return gi_fail(err, GI_INVALID_ARGUMENT, "an entry has no readable name");
        rc = extract(u, a, e, raw, err);
        if (rc < 0)
            return gi_prefix(err, "entry \"%.150s\"", raw);
        if (archive_read_data_skip(a) < ARCHIVE_WARN)
            return archive_failed(u, a, err);
    }
}

static int read_archive(struct unpack *u, struct gi_error *err)
{
    struct archive *a = archive_read_new();
    if (!a)
        return gi_fail_errno(err, ENOMEM, "tar reader");
    int rc;
    /* libarchive's filters stay off: decompression is ours. */
    if (archive_read_support_format_tar(a) != ARCHIVE_OK ||
        archive_read_support_format_empty(a) != ARCHIVE_OK)
        rc = gi_fail(err, GI_INTERNAL, "tar reader: %s", archive_error_string(a));
    else if (archive_read_open(a, u, NULL, read_stream, NULL) != ARCHIVE_OK)
        rc = archive_failed(u, a, err);
    else
        rc = read_entries(u, a, err);
    archive_read_free(a);
    return rc;
}

int unpack_layer(struct unpack *u, int blob_fd, const char *diff_id, struct gi_error *err)
{
    struct stream_limits limits = {u->limits.max_bytes, u->limits.ratio_grace, u->limits.max_ratio};
    cleanup_stream struct stream *stream = NULL;
    int rc = stream_open(blob_fd, diff_id, &limits, &stream, err);
    if (rc < 0)
        return rc;
    u->stream = stream;
    u->stream_err = (struct gi_error)GI_ERROR_INIT;
    u->dropped_xattrs = 0;
    tree_next_layer(u->tree);
    /* In the C locale libarchive hands names through as the bytes they are; in
     * a UTF-8 locale it would compose accents and merge different names. */
    locale_t before = uselocale(u->c_locale);
    rc = read_archive(u, err);
    uselocale(before);
    tree_flush(u->tree);
    if (rc == 0)
        rc = stream_finish(stream, diff_id, err);
    u->stream = NULL;
    if (rc == 0 && u->dropped_xattrs)
        gi_logf(GI_LOG_DEBUG, "layer %.80s: %u extended attributes left out", diff_id,
                u->dropped_xattrs);
    return rc;
}
