/* SPDX-License-Identifier: BSD-2-Clause */
/* The one table of keys: it drives reading, checking, defaults and help. */
#ifndef EVERWARM_SRC_CONFIG_KEY_H
#define EVERWARM_SRC_CONFIG_KEY_H

#include "everwarm/base/status.h"
#include "everwarm/config/value.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The object that a key stands in. */
enum key_scope {
    KEY_SCOPE_ROOT,
    KEY_SCOPE_POOL,
    KEY_SCOPE_NODE,
    KEY_SCOPE_COUNT,
};

enum key_type {
    KEY_TYPE_DURATION,  /* uint64_t, microseconds */
    KEY_TYPE_SIZE,      /* uint64_t, bytes */
    KEY_TYPE_COUNT,     /* uint32_t */
    KEY_TYPE_FLAG,      /* bool */
    KEY_TYPE_TEXT,      /* char[max + 1] */
    KEY_TYPE_CHOICE,    /* an enum in the order of `choices` */
    KEY_TYPE_ADDRESS,   /* struct address */
    KEY_TYPE_LISTENERS, /* struct address_list */
    KEY_TYPE_ARRAY,     /* read by its own code: pools, nodes */
};

enum {
    KEY_WHY_BYTES_MAX = 320,
    KEY_CHOICES_MAX = 16,
    KEY_TIED_MAX = 2,
};

struct config_given;

/* The offset of a key whose value is checked, and used by nothing in this release. */
#define KEY_NOT_STORED SIZE_MAX

struct key {
    const char *path; /* "health.interval": section and name, or a name alone */
    enum key_scope scope;
    enum key_type type;
    size_t offset;                        /* of the field in its scope's struct */
    uint64_t min;                         /* of numbers; of text: bytes */
    uint64_t max;                         /* likewise */
    const char *fallback;                 /* the default as text; NULL: empty, off, none */
    const char *fallback_help;            /* the default in words, where text would mislead */
    const char *choices[KEY_CHOICES_MAX]; /* CHOICE: up to the first NULL */
    size_t built_count;                   /* CHOICE: those that this release has come first */
    const char *unbuilt;                  /* said of what this release lacks: of TEXT and ADDRESS
                                             all but null, else what is out of range */
    const char *note;                     /* said when the key is given */
    uint16_t port;                        /* ADDRESS, LISTENERS: the default port */
    bool is_live;                         /* a change takes effect while it runs, unless */
    const char *tied[KEY_TIED_MAX];       /* one of these keys of the same scope changes too, or */
    uint64_t live_max;                    /* the value passes this (0: none) and the old one */
    const char *help;
};

/* The table; its length goes to COUNT. */
const struct key *key_table(size_t *count);

/* Its bit in a struct config_given. */
uint64_t key_bit(const struct key *key);
/* That of SCOPE's struct at BASE. */
struct config_given *key_given(enum key_scope scope, void *base);

/* The key NAME of SECTION (NULL: of none) in SCOPE; NULL when there is none. */
const struct key *key_find(enum key_scope scope, const char *section, const char *name);

/* The key of SCOPE with this path, which there is. */
const struct key *key_at(enum key_scope scope, const char *path);

/* Whether SCOPE has keys in a section called NAME. */
bool key_is_section(enum key_scope scope, const char *name);

/*
 * Name what is most like NAME among the keys of SECTION (NULL: the keys and sections outside of
 * any) in SCOPE; failing that, a key of that very name in another section of SCOPE.
 *
 *   out  caller's, SIZE bytes; empty: nothing is close
 */
void key_suggest(enum key_scope scope, const char *section, const char *name, char *out,
                 size_t size);

/* Set all keys of SCOPE in BASE, the scope's struct, to their defaults. */
void key_set_defaults(enum key_scope scope, void *base);

/*
 * Set KEY in BASE, its scope's struct, from a flag or from a value of the file.
 *
 *   why  caller's, KEY_WHY_BYTES_MAX bytes: on an error what is wrong and what is right
 *
 * Errors  STATUS_BAD_CONFIG; the field is then meaningless.
 */
MUST_CHECK enum status key_set_text(const struct key *key, const char *text, void *base, char *why);
MUST_CHECK enum status key_set_json(const struct key *key, const json_t *value, void *base,
                                    char *why);

/* The range of a number, or what a value of another kind looks like, to OUT. */
void key_describe(const struct key *key, char *out, size_t size);

/* What a value of KEY should look like, as in `a duration like "250ms"`, to OUT. */
void key_expect(const struct key *key, char *out, size_t size);

/* The choices of KEY that this release has, as in `"a" or "b"`, to OUT. */
void key_list_choices(const struct key *key, char *out, size_t size);

/* The unit that numbers of KEY are written with. */
enum value_unit key_unit(const struct key *key);

/* "a string", "an array": what VALUE is, for messages. */
const char *key_json_type(const json_t *value);

#endif
