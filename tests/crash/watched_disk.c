/* Preloaded into a test's child process: everything that changes files below one folder is written to a log, in order,
 * with its bytes; and the process can be killed at any of these calls.
 *
 * Nothing is watched before disk_watch(). Calls go straight to the kernel, one at a time. Streams (fopen, fdopen) are
 * given a cookie, because libc's own writes cannot be replaced. Files ending in -shm are SQLite's shared memory and
 * left out; so are folders words-*, the temporary home of a library that calls the kernel past libc: what is linked from
 * there is noted with all of its bytes. A log record is the header below, then its two byte strings. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct __attribute__((packed)) header {
    char kind; /* Create, Write, written before a link, Truncate, Sync, Rename, Link, Unlink, Mkdir, rmDir, x failed, ! mark */
    uint64_t inode;
    int64_t offset;
    uint32_t first;
    uint32_t second;
};

static char root[PATH_MAX];
static int log_fd = -1;
static long crash_at, calls;
static int half_way;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void put(const void *data, size_t size) {
    const char *next = data;
    while (size > 0) {
        long done = syscall(SYS_write, log_fd, next, size);
        if (done <= 0) abort();
        next += done;
        size -= (size_t)done;
    }
}

static void note(char kind, uint64_t inode, int64_t offset, const void *first, size_t n, const void *second, size_t m) {
    struct header header = {kind, inode, offset, (uint32_t)n, (uint32_t)m};
    put(&header, sizeof header);
    put(first, n);
    put(second, m);
}

static void note_path(char kind, uint64_t inode, const char *path, const char *other) {
    note(kind, inode, 0, path, strlen(path), other, strlen(other));
}

void disk_watch(const char *folder, const char *log, long n, int half) {
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) abort();
    strcpy(root, folder);
    crash_at = n;
    half_way = half;
    calls = 0;
}

long disk_calls(void) { return calls; }

void disk_mark(const char *text) {
    pthread_mutex_lock(&one_at_a_time);
    note_path('!', 0, text, "");
    pthread_mutex_unlock(&one_at_a_time);
}

static void note_failed(void) { note('x', 0, 0, "", 0, "", 0); }

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Take the lock; true when the process shall die half-way through this call. */
static int begin(void) {
    pthread_mutex_lock(&one_at_a_time);
    if (++calls != crash_at) return 0;
    if (!half_way) die();
    return 1;
}

static void end(int dying) {
    int error = errno;
    if (dying) die();
    pthread_mutex_unlock(&one_at_a_time);
    errno = error;
}

static int below(const char *path) {
    size_t n = strlen(root), m = strlen(path);
    if (log_fd < 0 || strncmp(path, root, n) != 0 || (path[n] != 0 && path[n] != '/')) return 0;
    return strstr(path + n, "/words-") == NULL && (m < 4 || strcmp(path + m - 4, "-shm") != 0);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = 0;
    return n > 0;
}

static int watched(int fd) {
    char path[PATH_MAX];
    int error = errno, found = log_fd >= 0 && path_of(fd, path) && below(path);
    errno = error;
    return found;
}

static void whole(int dir, const char *path, char *out) {
    char base[PATH_MAX] = "";
    if (path[0] != '/' && (dir == AT_FDCWD ? getcwd(base, sizeof base) != NULL : path_of(dir, base))) {
        size_t n = strlen(base);
        base[n] = '/';
        base[n + 1] = 0;
    }
    snprintf(out, PATH_MAX, "%.2000s%.2000s", base, path);
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_ino : 0;
}

static uint64_t inode_at(const char *path) {
    struct stat found;
    return lstat(path, &found) == 0 ? found.st_ino : 0;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static int opened(int dir, const char *path, int flags, mode_t mode) {
    char name[PATH_MAX];
    if (log_fd < 0 || !(flags & (O_CREAT | O_TRUNC))) return (int)syscall(SYS_openat, dir, path, flags, mode);
    whole(dir, path, name);
    uint64_t before = inode_at(name);
    if (!below(name) || (before && !(flags & O_TRUNC))) return (int)syscall(SYS_openat, dir, path, flags, mode);
    int dying = begin();
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd < 0) note_failed();
    else if (before) note('T', before, 0, "", 0, "", 0);
    else note_path('C', inode_of(fd), name, "");
    end(dying);
    return fd;
}

#define OPEN(name)                                  \
    int name(const char *path, int flags, ...) {    \
        va_list rest;                               \
        va_start(rest, flags);                      \
        mode_t mode = va_arg(rest, mode_t);         \
        va_end(rest);                               \
        return opened(AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                      \
    int name(int dir, const char *path, int flags, ...) { \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = va_arg(rest, mode_t);               \
        va_end(rest);                                     \
        return opened(dir, path, flags, mode);            \
    }
OPENAT(openat)
OPENAT(openat64)

/* --- writing ----------------------------------------------------------------------------------------------------- */

static ssize_t write_at(int fd, const void *data, size_t size, off_t offset) {
    if (!watched(fd))
        return offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
    int dying = begin();
    size_t part = dying ? size / 2 : size;
    ssize_t done = offset < 0 ? syscall(SYS_write, fd, data, part) : syscall(SYS_pwrite64, fd, data, part, offset);
    if (done > 0) {
        off_t at = offset < 0 ? (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) - done : offset;
        note('W', inode_of(fd), at, "", 0, data, (size_t)done);
    } else {
        note_failed();
    }
    end(dying);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return write_at(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return write_at(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return write_at(fd, data, size, offset); }

ssize_t writev(int fd, const struct iovec *parts, int n) {
    if (!watched(fd)) return syscall(SYS_writev, fd, parts, n);
    size_t size = 0;
    for (int i = 0; i < n; i++) size += parts[i].iov_len;
    char *joined = malloc(size ? size : 1), *next = joined;
    for (int i = 0; i < n; i++) next = mempcpy(next, parts[i].iov_base, parts[i].iov_len);
    ssize_t done = write_at(fd, joined, size, -1);
    free(joined);
    return done;
}

static int cut(int fd, off_t size) {
    if (!watched(fd)) return (int)syscall(SYS_ftruncate, fd, size);
    int dying = begin();
    int failed = (int)syscall(SYS_ftruncate, fd, size);
    failed ? note_failed() : note('T', inode_of(fd), size, "", 0, "", 0);
    end(dying);
    return failed;
}

int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

static int flush(int fd, long call) {
    if (!watched(fd)) return (int)syscall(call, fd);
    int dying = begin();
    int failed = (int)syscall(call, fd);
    failed ? note_failed() : note('S', inode_of(fd), 0, "", 0, "", 0);
    end(dying);
    return failed;
}

int fsync(int fd) { return flush(fd, SYS_fsync); }
int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }

/* --- streams ----------------------------------------------------------------------------------------------------- */

static ssize_t cookie_read(void *fd, char *data, size_t size) { return read((int)(intptr_t)fd, data, size); }
static ssize_t cookie_write(void *fd, const char *data, size_t size) {
    ssize_t done = write((int)(intptr_t)fd, data, size);
    return done < 0 ? 0 : done;
}
static int cookie_seek(void *fd, off64_t *offset, int from) {
    *offset = lseek64((int)(intptr_t)fd, *offset, from);
    return *offset < 0 ? -1 : 0;
}
static int cookie_close(void *fd) { return close((int)(intptr_t)fd); }

static FILE *stream(int fd, const char *mode) {
    cookie_io_functions_t functions = {cookie_read, cookie_write, cookie_seek, cookie_close};
    return fopencookie((void *)(intptr_t)fd, mode, functions);
}

static FILE *opened_stream(const char *name, const char *path, const char *mode) {
    char full[PATH_MAX];
    whole(AT_FDCWD, path, full);
    if (!below(full) || mode[0] == 'r') return ((FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, name))(path, mode);
    int how = strchr(mode, '+') ? O_RDWR : O_WRONLY;
    int fd = open(path, how | O_CREAT | (mode[0] == 'a' ? O_APPEND : O_TRUNC), 0666);
    return fd < 0 ? NULL : stream(fd, mode);
}

FILE *fopen(const char *path, const char *mode) { return opened_stream("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return opened_stream("fopen64", path, mode); }
FILE *fdopen(int fd, const char *mode) {
    if (!watched(fd) || (mode[0] == 'r' && !strchr(mode, '+')))
        return ((FILE * (*)(int, const char *)) dlsym(RTLD_NEXT, "fdopen"))(fd, mode);
    return stream(fd, mode);
}

/* --- names ------------------------------------------------------------------------------------------------------- */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char old[PATH_MAX], new[PATH_MAX];
    whole(from_dir, from, old);
    whole(to_dir, to, new);
    if (!below(new)) return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    int dying = begin();
    int failed = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    failed ? note_failed() : note_path('R', 0, old, new);
    end(dying);
    return failed;
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}

static void note_whole(const char *from, const char *to) {
    char bytes[4096];
    off_t at = 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, from, O_RDONLY | O_CLOEXEC, 0);
    note_path('C', inode_of(fd), to, "");
    for (ssize_t n; (n = syscall(SYS_pread64, fd, bytes, sizeof bytes, at)) > 0; at += n)
        note('w', inode_of(fd), at, "", 0, bytes, (size_t)n);
    close(fd);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char old[PATH_MAX], new[PATH_MAX];
    whole(from_dir, from, old);
    whole(to_dir, to, new);
    if (!below(new)) return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    int dying = begin();
    int failed = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    if (failed) note_failed();
    else if (below(old)) note_path('L', 0, old, new);
    else note_whole(old, new);
    end(dying);
    return failed;
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *path, int flags) {
    char name[PATH_MAX];
    whole(dir, path, name);
    if (!below(name)) return (int)syscall(SYS_unlinkat, dir, path, flags);
    int dying = begin();
    int failed = (int)syscall(SYS_unlinkat, dir, path, flags);
    failed ? note_failed() : note_path(flags & AT_REMOVEDIR ? 'D' : 'U', 0, name, "");
    end(dying);
    return failed;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dir, const char *path, mode_t mode) {
    char name[PATH_MAX];
    whole(dir, path, name);
    if (!below(name)) return (int)syscall(SYS_mkdirat, dir, path, mode);
    int dying = begin();
    int failed = (int)syscall(SYS_mkdirat, dir, path, mode);
    failed ? note_failed() : note_path('M', inode_at(name), name, "");
    end(dying);
    return failed;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
