/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the control port share: control_port.c (figures, commands, questions),
 * control_port_config.c (the configuration in effect), control_port_nodes.c (its nodes),
 * control_port_process.c (the process).
 */
#ifndef EVERWARM_SRC_SHELL_CONTROL_PORT_PRIVATE_H
#define EVERWARM_SRC_SHELL_CONTROL_PORT_PRIVATE_H

#include "bell.h"
#include "event_ring.h"
#include "port.h"
#include "task_table.h"

#include <pthread.h>

struct wait {
    uint64_t ticket; /* 0: free */
    bool is_done;
    enum control_result result;
};

/* Events since the pool was there. */
struct port_counts {
    uint64_t traces[TRACE_TYPE_COUNT];
    uint64_t went_up[NODES_MAX];
    uint64_t went_down[NODES_MAX];
};

struct port_pool {
    bool was_readable; /* or was there at the start */
    struct control_snapshot control;
    struct port_counts counts;
};

struct control_port {
    struct control_port_parts parts;
    uint64_t started_wall_us;
    uint64_t started_mono_us;
    struct port_counts counting[POOLS_MAX]; /* by place: the control thread's own */
    pthread_mutex_t mutex;                  /* of all below */
    struct bell is_answered;
    bool is_started; /* its first pools are there */
    bool is_draining;
    bool is_drained;
    uint64_t config_epoch;
    uint64_t reloads_ok;
    uint64_t reloads_failed;
    bool has_served; /* every pool, once */
    uint64_t last_ticket;
    struct wait waits[PORT_WAITS_MAX];
    struct port_pool pools[POOLS_MAX]; /* by place */
    /* The places of the pools of the configuration in effect, in its order. Changed under both
     * mutexes; those that are not here are free, or on their way out. */
    uint32_t pool_count;
    uint32_t places[POOLS_MAX];
    uint64_t gone_divergences; /* found by the verifies of pools that have gone */
    uint64_t gone_repairs;
    struct event_ring events; /* these have mutexes of their own */
    struct task_table tasks;
    pthread_mutex_t reload_mutex; /* of what follows; held while a configuration is put in effect */
    struct config *config;        /* in effect: as at the start, but for its live keys */
    port_load *load;              /* NULL: there is none */
    void *load_closure;
    const char *load_path; /* NULL: from flags alone */
};

/* Something happened to the whole process: as with what happens in a pool, the log and the stream
 * tell of it. */
void control_port_tell(struct control_port *port, enum trace_type type, uint64_t a,
                       const char *detail);

/* Make the place ready for the pool that stands there now. Under the mutex, or before threads. */
void control_port_begin_pool(struct control_port *port, uint32_t place);
/* The index of the pool of this name in the configuration in effect; its pool_count: none. Under
 * the reload mutex. */
uint32_t control_port_pool_of(const struct control_port *port, const char *name);
/* The limits of the pool with this index. Under the reload mutex. */
void control_port_post_limits(struct control_port *port, uint32_t index);

/*
 * Put the pools of FRESH in effect: those that it has anew come, those that it has no more go, and
 * all listen where it says. The configuration in effect is then of the same pools in the same
 * order. What changed otherwise, nodes too, is as it was.
 *
 * Errors  OUT's error says why nothing was changed. Under the reload mutex.
 */
MUST_CHECK enum status control_port_follow_pools(struct control_port *port,
                                                 const struct config *fresh,
                                                 struct port_reload *out);

/*
 * Carry out what FRESH says of nodes otherwise than the configuration in effect, and take it over;
 * what comes of each is a change in OUT. Under the reload mutex.
 */
void control_port_follow_nodes(struct control_port *port, const struct config *fresh,
                               struct port_reload *out);

/* Look into /proc/self; what can't be had stays 0. */
void control_port_look_at_process(struct proxy_process *out);

#endif
