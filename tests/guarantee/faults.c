/* Fails chosen writes, syncs, truncations, renames, links and removals below one folder.
 *
 * Loaded before the C library (LD_PRELOAD); tests/guarantee/faulted.py steers it by ctypes.
 * It also keeps what power loss would leave: after every sync that succeeds, a copy of the file.
 * A file that was removed comes back, unless its folder was synced since.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FAILED = 1, PERSISTED = 2, TORN = 3, KILLED = 4 };

static char folder[4096], shadow[4096], fired[64], calls[4096][64];
static atomic_long countdown, seen;
static atomic_int kind, error, lasting;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

void fault_scope(const char *below, const char *copies) {
    snprintf(folder, sizeof folder, "%s/", below);
    snprintf(shadow, sizeof shadow, "%s", copies);
}

/* The nth call from now on, from 1, is struck; 0 only counts. A lasting fault strikes all after it. */
void fault_arm(long nth, int what, int number, int forever) {
    seen = 0;
    kind = what;
    error = number;
    lasting = forever;
    fired[0] = 0;
    countdown = nth;
}

long fault_seen(void) { return seen; }

/* The call of that number, from 1: its name and its file's. */
const char *fault_call(long nth) { return calls[nth % 4096]; }

const char *fault_fired(void) { return fired; }

static int below(const char *path) {
    return folder[0] && !strncmp(path, folder, strlen(folder));
}

static int named(int fd, char *path, size_t size) {
    char link[64];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path) || (strlen(path) + 1 == strlen(folder) && !strncmp(path, folder, length));
}

/* What to do with this call: 0, or a kind. */
static int struck(const char *call, const char *path) {
    long number = atomic_fetch_add(&seen, 1) + 1;
    snprintf(calls[number % 4096], sizeof *calls, "%s %s", call, strrchr(path, '/') + 1);
    long left = atomic_fetch_sub(&countdown, 1);
    if (left != 1 && !(lasting && left < 1 && fired[0])) return 0;
    if (!fired[0]) memcpy(fired, calls[number % 4096], sizeof fired);
    if (kind == KILLED) kill(getpid(), SIGKILL);
    errno = error;
    return kind;
}

/* A folder was synced: what was removed from it stays removed. */
static void pruned(const char *path) {
    char copies[8704], here[9216], there[9216];
    int inner = below(path);
    snprintf(copies, sizeof copies, "%s/%s", shadow, inner ? path + strlen(folder) : "");
    DIR *listing = opendir(copies);
    if (!listing) return;
    for (struct dirent *entry; (entry = readdir(listing));) {
        snprintf(here, sizeof here, "%s/%s", path, entry->d_name);
        snprintf(there, sizeof there, "%s/%s", copies, entry->d_name);
        if (access(here, F_OK)) unlink(there);
    }
    closedir(listing);
}

/* A file was synced: power loss leaves it as it is now. */
static void copied(const char *path) {
    char to[8192], draft[8200], bytes[65536];
    struct stat about;
    if (!shadow[0] || stat(path, &about)) return;
    if (S_ISDIR(about.st_mode)) {
        pruned(path);
        return;
    }
    snprintf(to, sizeof to, "%s/%s", shadow, path + strlen(folder));
    snprintf(draft, sizeof draft, "%s.draft", to);
    int in = open(path, O_RDONLY);
    /* Another thread renamed it since it was looked at: it is copied under its other name. */
    if (in < 0 && errno == ENOENT) return;
    int out = open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0) abort();
    for (ssize_t n; (n = read(in, bytes, sizeof bytes)) > 0;)
        if (write(out, bytes, n) != n) abort();
    close(in), close(out);
    if (rename(draft, to)) abort();
}

#define WRITES(name, arguments, call, half) \
    ssize_t name arguments { \
        REAL(name); \
        char path[4096]; \
        if (!named(fd, path, sizeof path)) return real call; \
        int what = struck(#name, path), number = errno; \
        if (!what) return real call; \
        if (what == PERSISTED && real call < 0) abort(); \
        if (what == TORN && real half < 0) abort(); \
        errno = number; \
        return -1; \
    }

WRITES(write, (int fd, const void *buf, size_t n), (fd, buf, n), (fd, buf, n / 2))
WRITES(pwrite, (int fd, const void *buf, size_t n, off_t at), (fd, buf, n, at), (fd, buf, n / 2, at))
WRITES(pwrite64, (int fd, const void *buf, size_t n, off64_t at), (fd, buf, n, at),
       (fd, buf, n / 2, at))

#define DOES(name, arguments, call, is_below, after) \
    int name arguments { \
        REAL(name); \
        char path[4096]; \
        if (!(is_below)) return real call; \
        int what = struck(#name, path), number = errno; \
        int result = what == FAILED || what == TORN ? -1 : real call; \
        if (!result) { after; } \
        if (!what) return result; \
        errno = number; \
        return -1; \
    }

#define OPEN named(fd, path, sizeof path)
#define AT(name) (below(name) && snprintf(path, sizeof path, "%s", name))

DOES(fsync, (int fd), (fd), OPEN, copied(path))
DOES(fdatasync, (int fd), (fd), OPEN, copied(path))
DOES(ftruncate, (int fd, off_t size), (fd, size), OPEN, )
DOES(ftruncate64, (int fd, off64_t size), (fd, size), OPEN, )
DOES(rename, (const char *from, const char *to), (from, to), AT(from), copied(to))
DOES(link, (const char *from, const char *to), (from, to), AT(from), copied(to))
DOES(unlink, (const char *name), (name), AT(name), )
