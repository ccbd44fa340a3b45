/* SPDX-License-Identifier: BSD-2-Clause */
/*
 *   {"everwarm_state": 1, "words": [{"node": "a", "admin": "drain", "until_s": 0, "reason": ""}]}
 *
 * Written beside its place and renamed into it, so that it is always whole, and a symbolic link
 * that somebody put there is replaced, not followed. Read only if it is a plain file of our own
 * that says exactly this: what can't be trusted in one place can't be in another.
 */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STATE_VERSION = 1 };

/* --- writing --- */

static json_t *words_json(const struct word *words, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s, s:I, s:s}", "node", words[i].node,
                                              "admin", node_admin_word(words[i].admin), "until_s",
                                              (json_int_t)(words[i].until_wall_us / 1000000),
                                              "reason", words[i].reason));
    }
    return json_pack("{s:i, s:o}", "everwarm_state", STATE_VERSION, "words", list);
}

/* All of TEXT into the file FD, down to the disk. */
static bool write_all(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        const ssize_t put = write(fd, text, left);
        if (put < 0 && errno != EINTR) {
            return false;
        }
        const size_t taken = put > 0 ? (size_t)put : 0;
        text += taken;
        left -= taken;
    }
    return fsync(fd) == 0;
}

/* The rename itself must be on the disk too; a file system that can't do that is not told of. */
static void sync_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    (void)snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1,
                   slash == NULL ? "." : path);
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

static bool replace(const char *path, const char *text)
{
    char beside[4096 + 8];
    (void)snprintf(beside, sizeof(beside), "%s.new", path);
    (void)unlink(beside); /* of a run that was killed while it wrote */
    const int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    bool is_good = write_all(fd, text);
    is_good = close(fd) == 0 && is_good;
    if (!is_good || rename(beside, path) < 0) {
        const int kept = errno;
        (void)unlink(beside);
        errno = kept;
        return false;
    }
    sync_folder(path);
    return true;
}

bool state_write(const char *path, const struct word *words, size_t count, char *error,
                 size_t error_bytes)
{
    json_t *json = words_json(words, count);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1));
    errno = ENOMEM;
    const bool is_written = text != NULL && replace(path, text);
    if (!is_written) {
        (void)snprintf(error, error_bytes, "%s: %s", path, strerrordesc_np(errno));
    }
    free(text);
    json_decref(json);
    return is_written;
}

/* --- reading --- */

/* The file's text, for free; NULL: WRONG says why, or there is none (NULL). */
static char *read_text(const char *path, const char **wrong)
{
    *wrong = NULL;
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        *wrong = errno == ENOENT ? NULL : errno == ELOOP ? "is a symbolic link" : "can't be read";
        return NULL;
    }
    struct stat found;
    char *text = NULL;
    if (fstat(fd, &found) < 0 || !S_ISREG(found.st_mode)) {
        *wrong = "is no plain file";
    } else if (found.st_uid != geteuid() || (found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        *wrong = "is somebody else's, or can be written by others";
    } else if (found.st_size > STATE_BYTES_MAX) {
        *wrong = "is too large";
    } else {
        const size_t bytes = (size_t)found.st_size;
        text = calloc(1, bytes + 1);
        if (text == NULL || read(fd, text, bytes) != (ssize_t)bytes) {
            free(text);
            text = NULL;
            *wrong = "can't be read";
        }
    }
    (void)close(fd);
    return text;
}

static bool read_admin(const char *text, enum node_admin *out)
{
    for (enum node_admin admin = NODE_ADMIN_READY; admin <= NODE_ADMIN_MAINT; admin++) {
        if (strcmp(node_admin_word(admin), text) == 0) {
            *out = admin;
            return true;
        }
    }
    return false;
}

static bool read_word(json_t *json, struct word *out)
{
    const char *node = NULL;
    const char *admin = NULL;
    const char *reason = NULL;
    json_int_t until_s = 0;
    if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:s, s:s, s:I, s:s}", "node", &node, "admin",
                       &admin, "until_s", &until_s, "reason", &reason) != 0 ||
        strlen(node) > NODE_NAME_BYTES_MAX || strlen(reason) > WORDS_REASON_BYTES_MAX ||
        until_s < 0 || until_s > INT32_MAX * (json_int_t)16) {
        return false;
    }
    *out = (struct word){.until_wall_us = (uint64_t)until_s * 1000000};
    (void)snprintf(out->node, sizeof(out->node), "%s", node);
    (void)snprintf(out->reason, sizeof(out->reason), "%s", reason);
    return read_admin(admin, &out->admin);
}

static size_t read_words(const char *text, struct word out[WORDS_MAX], const char **wrong)
{
    int version = 0;
    json_t *list = NULL;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    *wrong = "is damaged, or not a state file of this release";
    size_t count = 0;
    if (json_unpack_ex(json, NULL, JSON_STRICT, "{s:i, s:o}", "everwarm_state", &version, "words",
                       &list) == 0 &&
        version == STATE_VERSION && json_is_array(list) && json_array_size(list) <= WORDS_MAX) {
        while (count < json_array_size(list) &&
               read_word(json_array_get(list, count), &out[count])) {
            count++;
        }
        *wrong = count == json_array_size(list) ? NULL : *wrong;
    }
    json_decref(json);
    return *wrong == NULL ? count : 0;
}

size_t state_read(const char *path, struct word out[WORDS_MAX], char *error, size_t error_bytes)
{
    const char *wrong = NULL;
    char *text = read_text(path, &wrong);
    const size_t count = text == NULL ? 0 : read_words(text, out, &wrong);
    free(text);
    (void)snprintf(error, error_bytes, "%s%s%s", wrong == NULL ? "" : path,
                   wrong == NULL ? "" : " ", wrong == NULL ? "" : wrong);
    return count;
}
