/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may ask for what: a file of hashed bearer tokens with their roles, one a line:
 *
 *   # role    SHA-256 of the token, in hex                                      name, optional
 *   operator  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  deploy
 */
#ifndef EVERWARM_ADMIN_TOKENS_H
#define EVERWARM_ADMIN_TOKENS_H

#include "route.h"

#include "everwarm/base/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    /* People and machines with a token of their own; a directory service is for more. */
    TOKENS_MAX = 64,
    TOKENS_HASH_BYTES = 32, /* of SHA-256 */
    /* Random tokens have 43 base64 digits, signed ones some hundreds; what is longer is none. */
    TOKENS_TOKEN_BYTES_MAX = 1024,
};

struct token {
    enum role role;
    unsigned char hash[TOKENS_HASH_BYTES];
    char name[ROUTE_WHO_BYTES_MAX + 1];
};

struct tokens {
    pthread_mutex_t mutex;
    const char *path; /* borrowed for its life; NULL: nobody needs a token */
    size_t count;
    struct token entries[TOKENS_MAX];
};

/*
 * Begin with the tokens in the file at PATH; NULL: without, and none is asked for.
 *
 *   error  caller's, ERROR_BYTES of it: on an error one line, what and what to do
 *
 * Errors  STATUS_SYSTEM: it can't be read, or others may read it; STATUS_BAD_CONFIG: its text.
 */
MUST_CHECK enum status tokens_init(struct tokens *tokens, const char *path, char *error,
                                   size_t error_bytes);
void tokens_fini(struct tokens *tokens);

/* Read the file again; on an error the tokens stay as they are. Errors as tokens_init's. */
MUST_CHECK enum status tokens_reload(struct tokens *tokens, char *error, size_t error_bytes);

/* The tokens in TEXT, for tests; false: ERROR says which line is wrong. */
bool tokens_parse(const char *text, struct token out[TOKENS_MAX], size_t *count, char *error,
                  size_t error_bytes);

static inline bool tokens_are_asked_for(const struct tokens *tokens)
{
    return tokens->path != NULL;
}

/*
 * Look for the token in the value of an Authorization header, "Bearer TOKEN".
 *
 *   out  filled when it is known
 *
 * Returns  false: no header, another scheme, or a token that nobody has.
 * Cost     the same for each of them: all entries are compared, each over its whole length.
 */
bool tokens_find(struct tokens *tokens, const char *authorization, struct token *out);

#endif
