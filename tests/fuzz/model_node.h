/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A memcached that is stricter than the real one: it takes only what a dataplane has reason to
 * send, whole and exactly formed, and keeps a log of it. Anything else breaks a promise at once.
 */
#ifndef TESTS_FUZZ_MODEL_NODE_H
#define TESTS_FUZZ_MODEL_NODE_H

#include "everwarm/base/limits.h"
#include "everwarm/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes that grow. */
struct bytes {
    char *ptr;
    size_t len;
    size_t capacity;
};

void bytes_put(struct bytes *to, struct slice s);
void bytes_put_text(struct bytes *to, const char *text);
void bytes_put_number(struct bytes *to, uint64_t number);
/* Forget the first LEN. */
void bytes_take(struct bytes *from, size_t len);
void bytes_clear(struct bytes *bytes);

enum { MODEL_ITEMS = 16 };

struct model_item {
    char key[MC_KEY_BYTES_MAX];
    size_t key_bytes; /* 0: free */
    struct bytes value;
    uint64_t flags;
    uint64_t cas;
};

struct model_node {
    struct model_item items[MODEL_ITEMS]; /* more are forgotten at once, as a cache may */
    uint64_t cas;
    uint64_t pid;
    bool is_read_back_due; /* the last command's answer did not hold the item it made */
    struct bytes in;       /* sent to it on this connection, not yet executed */
    struct bytes out;      /* answered */
    struct bytes log;      /* of clients' commands, as model_log_* writes them */
};

/* A key that no command may name; empty, as it is at first: there is none. */
extern struct slice model_forbidden_key;

/* Execute the first command of node->in. Returns false: there is no whole one. */
bool model_node_execute(struct model_node *node);
void model_node_flush(struct model_node *node);
void model_node_clear(struct model_node *node);

/* One line of the log: what is done to which key, and with what data. */
void model_log(struct bytes *log, const char *what, struct slice key, struct slice data);

#endif
