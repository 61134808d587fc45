/* Kills the process at a chosen call that changes a file: the library is preloaded, stands before
   libc's functions, counts their calls once it is armed, and lets a write happen by half. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;        /* since it was armed */
static atomic_long fatal = -1;   /* the number of the call that kills; 0: count only */

void chaos_arm(long call) { calls = 0; fatal = call; }
long chaos_calls(void) { return calls; }

static int is_fatal(void) { return fatal >= 0 && atomic_fetch_add(&calls, 1) + 1 == fatal; }
static void die(void) { kill(getpid(), SIGKILL); pause(); }

/* Only what is kept: not the output of the command, no pipe and no socket. */
static int is_kept(int fd) {
    struct stat status;
    return fatal >= 0 && fd > 2 && !fstat(fd, &status) && S_ISREG(status.st_mode);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (is_kept(fd) && is_fatal()) { real(fd, data, size / 2); die(); }
    return real(fd, data, size);
}

#define PWRITE(name, offset) \
    ssize_t name(int fd, const void *data, size_t size, offset at) { \
        REAL(name); \
        if (is_kept(fd) && is_fatal()) { real(fd, data, size / 2, at); die(); } \
        return real(fd, data, size, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if (fatal >= 0 && (flags & O_CREAT) && is_fatal()) die(); \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define PATH(name) \
    int name(const char *path) { REAL(name); if (fatal >= 0 && is_fatal()) die(); return real(path); }
PATH(unlink)
PATH(rmdir)

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    if (fatal >= 0 && is_fatal()) die();
    return real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (fatal >= 0 && is_fatal()) die();
    return real(from, to);
}

#define SYNC(name) \
    int name(int fd) { REAL(name); if (is_kept(fd) && is_fatal()) die(); return real(fd); }
SYNC(fsync)
SYNC(fdatasync)

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    if (is_kept(fd) && is_fatal()) die();
    return real(fd, size);
}
