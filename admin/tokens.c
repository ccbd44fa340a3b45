/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file holds hashes, so that who reads a backup of it has no token yet. It must be a plain file
 * that only its owner may read or write, reached by no symbolic link at its end: what others can
 * write would let them in, what they can read they can try guesses against.
 */
#include "tokens.h"

#include "everwarm/base/invariant.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    /* Lines of TOKENS_MAX entries with their comments. */
    FILE_BYTES_MAX = 64 << 10,
    HEX_DIGITS = 2 * TOKENS_HASH_BYTES,
};

__attribute__((format(printf, 3, 4))) static bool complain(char *error, size_t error_bytes,
                                                           const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error, error_bytes, format, arguments);
    va_end(arguments);
    return false;
}

/* --- The text --- */

static int hex_value(char c)
{
    static const char DIGITS[] = "0123456789abcdef";
    const char *digit = c == '\0' ? NULL : strchr(DIGITS, c >= 'A' && c <= 'F' ? c + 32 : c);
    return digit == NULL ? -1 : (int)(digit - DIGITS);
}

static bool read_hash(struct slice word, unsigned char out[TOKENS_HASH_BYTES])
{
    if (word.len != HEX_DIGITS) {
        return false;
    }
    for (size_t i = 0; i < TOKENS_HASH_BYTES; i++) {
        const int high = hex_value(word.ptr[2 * i]);
        const int low = hex_value(word.ptr[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

static bool read_role(struct slice word, enum role *out)
{
    for (enum role role = ROLE_VIEWER; role <= ROLE_ADMIN; role++) {
        const char *name = route_role_word(role);
        if (strlen(name) == word.len && memcmp(name, word.ptr, word.len) == 0) {
            *out = role;
            return true;
        }
    }
    return false;
}

/* Cut the next word off the front of LINE; empty at its end. */
static struct slice next_word(struct slice *line)
{
    size_t start = 0;
    while (start < line->len && (line->ptr[start] == ' ' || line->ptr[start] == '\t')) {
        start++;
    }
    size_t end = start;
    while (end < line->len && line->ptr[end] != ' ' && line->ptr[end] != '\t') {
        end++;
    }
    const struct slice word = slice_of(line->ptr + start, end - start);
    *line = slice_of(line->ptr + end, line->len - end);
    return word;
}

static bool is_name(struct slice word)
{
    for (size_t i = 0; i < word.len; i++) {
        if (word.ptr[i] <= ' ' || word.ptr[i] >= 0x7f) {
            return false;
        }
    }
    return word.len <= ROUTE_WHO_BYTES_MAX;
}

/* NULL: the line is good. The line itself is never shown: it may be a token, put there by mistake.
 */
static const char *read_line(struct slice line, struct token *out)
{
    const struct slice role = next_word(&line);
    const struct slice hash = next_word(&line);
    const struct slice name = next_word(&line);
    if (!read_role(role, &out->role)) {
        return "begins with no role: viewer, operator or admin";
    }
    if (!read_hash(hash, out->hash)) {
        return "has no SHA-256 in hex behind the role: printf %s TOKEN | sha256sum";
    }
    if (!is_name(name) || next_word(&line).len > 0) {
        return "ends in more than a name of at most 32 graphic characters";
    }
    (void)snprintf(out->name, sizeof(out->name), "%.*s", (int)name.len, name.ptr);
    return NULL;
}

bool tokens_parse(const char *text, struct token out[TOKENS_MAX], size_t *count, char *error,
                  size_t error_bytes)
{
    size_t number = 0;
    *count = 0;
    for (const char *at = text; *at != '\0'; number++) {
        const size_t bytes = strcspn(at, "\n");
        struct slice line = slice_of(at, bytes > 0 && at[bytes - 1] == '\r' ? bytes - 1 : bytes);
        at += bytes + (at[bytes] == '\n' ? 1 : 0);
        struct slice rest = line;
        const struct slice first = next_word(&rest);
        if (first.len == 0 || first.ptr[0] == '#') {
            continue;
        }
        if (*count == TOKENS_MAX) {
            return complain(error, error_bytes, "line %zu: more than %d tokens", number + 1,
                            TOKENS_MAX);
        }
        const char *wrong = read_line(line, &out[*count]);
        if (wrong != NULL) {
            return complain(error, error_bytes, "line %zu %s", number + 1, wrong);
        }
        (*count)++;
    }
    return *count > 0 || complain(error, error_bytes, "there is no token in it");
}

/* --- The file --- */

static const char *check_file(int fd)
{
    struct stat found;
    if (fstat(fd, &found) < 0 || !S_ISREG(found.st_mode)) {
        return "is no plain file";
    }
    if ((found.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return "can be reached by others: chmod 600";
    }
    if (found.st_uid != geteuid() && found.st_uid != 0) {
        return "belongs to somebody else";
    }
    return found.st_size > FILE_BYTES_MAX ? "is larger than 64 KiB" : NULL;
}

static const char *error_text(void)
{
    const char *text = strerrordesc_np(errno);
    return text == NULL ? "can't be read" : text;
}

/* NULL: read whole; OUT has a final zero. */
static const char *read_file(const char *path, char out[FILE_BYTES_MAX + 1])
{
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ELOOP ? "is a symbolic link" : error_text();
    }
    const char *wrong = check_file(fd);
    size_t used = 0;
    while (wrong == NULL && used < FILE_BYTES_MAX) {
        const ssize_t got = read(fd, out + used, FILE_BYTES_MAX - used);
        if (got <= 0) {
            wrong = got < 0 ? error_text() : NULL;
            break;
        }
        used += (size_t)got;
    }
    (void)close(fd);
    out[used] = '\0';
    return wrong;
}

enum status tokens_reload(struct tokens *tokens, char *error, size_t error_bytes)
{
    if (tokens->path == NULL) {
        return STATUS_OK;
    }
    struct token entries[TOKENS_MAX];
    size_t count = 0;
    char why[128];
    char *text = calloc(1, FILE_BYTES_MAX + 1);
    enum status status = STATUS_OK;
    const char *wrong = text == NULL ? "no memory to read it" : read_file(tokens->path, text);
    if (wrong != NULL) {
        (void)complain(error, error_bytes, "tokens: %s: %s", tokens->path, wrong);
        status = STATUS_SYSTEM;
    } else if (!tokens_parse(text, entries, &count, why, sizeof(why))) {
        (void)complain(error, error_bytes, "tokens: %s: %s", tokens->path, why);
        status = STATUS_BAD_CONFIG;
    } else {
        (void)pthread_mutex_lock(&tokens->mutex);
        memcpy(tokens->entries, entries, count * sizeof(entries[0]));
        tokens->count = count;
        (void)pthread_mutex_unlock(&tokens->mutex);
    }
    if (text != NULL) {
        OPENSSL_cleanse(text, FILE_BYTES_MAX + 1);
    }
    free(text);
    return status;
}

enum status tokens_init(struct tokens *tokens, const char *path, char *error, size_t error_bytes)
{
    memset(tokens, 0, sizeof(*tokens));
    tokens->path = path;
    INVARIANT(pthread_mutex_init(&tokens->mutex, NULL) == 0);
    const enum status status = tokens_reload(tokens, error, error_bytes);
    if (status != STATUS_OK) {
        (void)pthread_mutex_destroy(&tokens->mutex);
    }
    return status;
}

void tokens_fini(struct tokens *tokens)
{
    (void)pthread_mutex_destroy(&tokens->mutex);
}

/* --- Asked --- */

bool tokens_find(struct tokens *tokens, const char *authorization, struct token *out)
{
    static const char SCHEME[] = "Bearer ";
    const size_t scheme_len = sizeof(SCHEME) - 1;
    if (authorization == NULL || strncasecmp(authorization, SCHEME, scheme_len) != 0) {
        return false;
    }
    const char *given = authorization + scheme_len;
    unsigned char hash[TOKENS_HASH_BYTES];
    const size_t len = strnlen(given, TOKENS_TOKEN_BYTES_MAX + 1);
    if (len == 0 || len > TOKENS_TOKEN_BYTES_MAX ||
        EVP_Digest(given, len, hash, NULL, EVP_sha256(), NULL) != 1) {
        return false;
    }
    bool is_found = false;
    (void)pthread_mutex_lock(&tokens->mutex);
    for (size_t i = 0; i < tokens->count; i++) {
        if (CRYPTO_memcmp(hash, tokens->entries[i].hash, sizeof(hash)) == 0) {
            *out = tokens->entries[i];
            is_found = true;
        }
    }
    (void)pthread_mutex_unlock(&tokens->mutex);
    return is_found;
}
