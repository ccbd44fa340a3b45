/* SPDX-License-Identifier: BSD-2-Clause */
/* A file is read whole, edited, written beside its place and renamed into it. */
#include "edit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status fail_errno(const char *path, struct config_error *error)
{
    *error = (struct config_error){.line = 0};
    (void)snprintf(error->path, sizeof(error->path), "%s", path);
    (void)snprintf(error->message, sizeof(error->message), "%s", strerrordesc_np(errno));
    return STATUS_SYSTEM;
}

/* All of the file, for free; NULL with errno. */
static char *read_whole(int fd, struct stat *about)
{
    if (fstat(fd, about) != 0) {
        return NULL;
    }
    errno = EFBIG;
    if (!S_ISREG(about->st_mode) || about->st_size > CONFIG_BYTES_MAX) {
        return NULL;
    }
    char *text = calloc(1, (size_t)about->st_size + 1);
    size_t len = 0;
    while (text != NULL && len < (size_t)about->st_size) {
        const ssize_t got = read(fd, text + len, (size_t)about->st_size - len);
        if (got <= 0 && !(got < 0 && errno == EINTR)) {
            free(text);
            return NULL;
        }
        len += got > 0 ? (size_t)got : 0;
    }
    return text;
}

static bool write_whole(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        const ssize_t put = write(fd, text, left);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        text += put > 0 ? put : 0;
        left -= put > 0 ? (size_t)put : 0;
    }
    return fsync(fd) == 0;
}

/* Beside its place and renamed into it; false with errno, and the old one is there. */
static bool replace(const char *path, const char *text, const struct stat *about)
{
    char beside[CONFIG_PATH_BYTES_MAX + 8];
    (void)snprintf(beside, sizeof(beside), "%s.new", path);
    (void)unlink(beside); /* of a run that was killed while it wrote */
    const int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    /* Who may not give it away keeps it. */
    const int given = fchown(fd, about->st_uid, about->st_gid);
    (void)given;
    bool is_good = fchmod(fd, about->st_mode & 07777) == 0 && write_whole(fd, text);
    is_good = close(fd) == 0 && is_good;
    if (!is_good || rename(beside, path) != 0) {
        const int kept = errno;
        (void)unlink(beside);
        errno = kept;
        return false;
    }
    return true;
}

enum status edit_file(const char *path, const struct edit_node *edit, struct config_error *error)
{
    char *real = realpath(path, NULL);
    const int fd = real == NULL ? -1 : open(real, O_RDONLY | O_CLOEXEC);
    struct stat about;
    char *text = fd < 0 ? NULL : read_whole(fd, &about);
    char *fresh = NULL;
    enum status status = STATUS_OK;
    if (text == NULL) {
        status = fail_errno(path, error);
    } else {
        status = edit_text(path, text, edit, &fresh, error);
    }
    if (status == STATUS_OK && strcmp(text, fresh) != 0 && !replace(real, fresh, &about)) {
        status = fail_errno(path, error);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    free(fresh);
    free(text);
    free(real);
    return status;
}
