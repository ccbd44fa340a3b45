/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model memcached 1.6.18: what proxies say to nodes, answered byte for byte as the real one does
 * (tests/sim/model_check.py compares them). No sockets and no time of its own.
 *
 * Not modelled, since no proxy of this release asks for it: stale items and recache wins (meta I,
 * N, R), T and autoviv of ma, base64 keys, client-chosen CAS (E: an invalid flag, as
 * before 1.6.27), item size limits.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "sim/bytes.h"
#include "sim/store.h"

struct model_conn {
    struct bytes in;   /* received, not yet executed */
    struct bytes out;  /* answered, not yet taken by the owner */
    uint64_t in_total; /* bytes ever executed */
    bool is_dumping;
    uint32_t dump_bucket;
    bool is_closing; /* quit, or an error after which memcached hangs up */
};

struct model {
    struct store store;
    uint64_t pid;
    struct model_conn *dumper; /* one crawl at a time */
    bool is_understanding;     /* false: a command came that no proxy should send */
    char puzzle[128];          /* the first such line */
    /* Called for each key that a client's read may be answered from, before it is looked up. */
    void (*on_read)(void *owner, struct slice key);
    void *owner;
};

/* A process PID that starts at WALL_S, empty. The hooks stay as they are. */
void model_start(struct model *model, uint64_t pid, int64_t wall_s);
/* Another process PID with the same items (memcached -e): its clock goes on. */
void model_restart(struct model *model, uint64_t pid);
void model_free(struct model *model);

/*
 * Execute the next whole command of CONN's input, or a piece of its dump.
 *
 * Returns  false: nothing to do before more bytes come.
 */
bool model_run(struct model *model, struct model_conn *conn);

/* The connection is gone; a dump on it ends. */
void model_conn_fini(struct model *model, struct model_conn *conn);

/* Lines "TCP bytes in, bytes out" on stdin and stdout, for model_check.py. */
int model_serve(void);

#endif
