/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control port: what the operator's side sees of a running proxy and may ask of it. The one
 * door between admin and the rest; every function here may be called from any thread.
 *
 * Figures are copies: what the control thread and each worker last published, at most 0.2 s old.
 * Strings in a snapshot live as long as it does. Pools are named by their ids.
 */
#ifndef EVERWARM_SHELL_CONTROL_PORT_H
#define EVERWARM_SHELL_CONTROL_PORT_H

#include "everwarm/base/limits.h"
#include "everwarm/base/status.h"
#include "everwarm/config/config.h"
#include "everwarm/config/diff.h"
#include "everwarm/config/edit.h"
#include "everwarm/core/control.h"
#include "everwarm/core/dataplane.h"
#include "everwarm/core/trace.h"
#include "everwarm/shell/inspect.h"
#include "everwarm/shell/task.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Events that are remembered: a bad day of a few nodes; older ones are in the log. */
    PORT_EVENTS_MAX = 1024,
    /* Commands that wait for their answer at a time; each holds one thread of admin's. Fewer than
     * CONTROL_COMMANDS_MAX, which all of them together may take. */
    PORT_WAITS_MAX = 16,
    /* The pool of an event that belongs to the whole process. */
    PORT_NO_POOL = 0xffffffff,
};

struct control_port;

enum proxy_state {
    PROXY_STARTING, /* no pool serves yet */
    PROXY_RUNNING,
    PROXY_DRAINED,  /* told not to be ready, so that balancers send clients elsewhere; serves */
    PROXY_DRAINING, /* told to end: no new clients; not ready */
};
const char *proxy_state_word(enum proxy_state state);

/* Why clients' connections end: "client", "proxy", "reset", "killed", "slow". */
enum { PORT_CLOSES_MAX = 5 };
const char *control_port_close_word(size_t reason);

/* What stands at one place of one pool: a node, if it is among control.members. */
struct proxy_node {
    const char *name; /* in this snapshot's control */
    char
        address[ADDRESS_TEXT_BYTES_MAX]; /* as configured, with the port; or as the view names it */
    const char *zone;                    /* "" when none */
    uint32_t weight;
    uint64_t went_up; /* transitions of oper, since the start */
    uint64_t went_down;
    uint64_t zombies; /* connections given up and not yet read to their end, of all workers */
};

struct proxy_pool {
    uint32_t id; /* of this pool alone, as long as the proxy runs */
    /* It came while the proxy ran, and was not readable yet: nobody waits for it. */
    bool is_coming;
    const char *name;
    const struct config_pool *config; /* in this snapshot; as when it came */
    struct config_pool own;
    uint64_t request_timeout_us; /* in effect */
    uint32_t node_count;         /* places */
    bool is_readable;            /* serves, and a complete node is up */
    struct proxy_node nodes[NODES_MAX];
    struct control_snapshot control;
    struct dataplane_stats traffic;    /* of all workers together; is_open: any worker's */
    uint64_t traces[TRACE_TYPE_COUNT]; /* events of each type since the start */
};

/* The process, from /proc/self and getrusage; 0 where the kernel does not say. */
struct proxy_process {
    uint64_t fds_open;
    uint64_t fds_max;
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t cpu_user_us;
    uint64_t cpu_system_us;
    uint64_t threads;
};

struct proxy_snapshot {
    const char *version;         /* of everwarm: "0.1.0" */
    const struct config *config; /* as at the start */
    enum proxy_state state;
    int32_t pid;
    uint64_t started_wall_us; /* since 1970 */
    uint64_t now_wall_us;     /* this snapshot's time, on both clocks: */
    uint64_t now_mono_us;     /* wall of a monotonic t = now_wall_us - (now_mono_us - t) */
    uint64_t uptime_us;
    uint64_t clients_max;  /* in effect */
    uint64_t clients_open; /* of all pools, as the accepting side counts them */
    uint64_t clients_accepted;
    uint64_t clients_rejected_limit; /* max_clients reached */
    uint64_t clients_rejected_fds;   /* no file descriptor left */
    uint64_t clients_closed[PORT_CLOSES_MAX];
    uint64_t loop_lag_us;  /* the latest of all workers' ticks lately was so much too late */
    uint64_t config_epoch; /* 1, and one more for each change that took effect */
    uint64_t reloads_ok;
    uint64_t reloads_failed;
    uint64_t log_dropped; /* lines, because stderr did not take them */
    struct proxy_process process;
    struct dataplane_stats gone; /* counted by pools that have gone; no nodes' */
    uint32_t pool_count;
    struct proxy_pool pools[]; /* in the order of the configuration */
};

/* The pool with this id; NULL: it has gone. */
const struct proxy_pool *proxy_snapshot_pool(const struct proxy_snapshot *snapshot, uint32_t id);

/*
 * Take a snapshot, about 0.1 MB for each pool.
 *
 *   out   receives it, for proxy_snapshot_destroy; NULL on an error
 *
 * Errors  STATUS_NO_MEMORY.
 */
MUST_CHECK enum status control_port_snapshot(struct control_port *port,
                                             struct proxy_snapshot **out);
void proxy_snapshot_destroy(struct proxy_snapshot **snapshot);

/* Ready: running, and every pool is readable but those that are only coming. Cheaper than a
 * snapshot. */
bool control_port_is_ready(struct control_port *port);

/* Its pool's id and its place, for a node's name; false: no such node. */
bool control_port_find_node(struct control_port *port, const char *name, uint32_t *pool,
                            uint32_t *node);

struct control_port_request {
    uint32_t pool; /* its id */
    uint32_t node; /* not of ADD */
    enum control_command_type type;
    bool is_forced;  /* even if no readable copy is left; or whatever is there */
    bool is_mending; /* VERIFY; its node may be VERIFY_ALL_NODES */
    uint64_t tag;    /* VERIFY: shown with it in the snapshot */
    /* ADD; the address as control_port_resolve gives it. */
    char name[NODE_NAME_BYTES_MAX + 1];
    char address[VIEW_ADDRESS_BYTES_MAX + 1];
    uint32_t timeout_ms;
};

/*
 * Resolve a node's ADDRESS to what all proxies of its pool are to go by; blocks for as long as the
 * resolver does.
 *
 * Errors  STATUS_NOT_FOUND: WRONG says what.
 */
MUST_CHECK enum status control_port_resolve(const struct address *address,
                                            char out[VIEW_ADDRESS_BYTES_MAX + 1], char *wrong,
                                            size_t wrong_bytes);

/*
 * Ask control, and wait for its answer.
 *
 *   result  filled when STATUS_OK; CONTROL_RESULT_TIMEOUT also when timeout_ms passed here: what
 * was asked may still happen
 *
 * Errors  STATUS_FULL: PORT_WAITS_MAX others wait; STATUS_NOT_FOUND: no such pool or node.
 */
MUST_CHECK enum status control_port_command(struct control_port *port,
                                            const struct control_port_request *request,
                                            enum control_result *result);

/* Be not ready, or ready again. True: it was not so before. */
bool control_port_set_drained(struct control_port *port, bool is_drained);

/* --- The configuration --- */

/* Reads it anew, as at the start: a new config, for config_destroy; NULL with ERROR filled. */
typedef enum status port_load(void *closure, struct config **out, struct config_error *error);

/* Who can read it anew, and the file that is read; NULL: there is none. Before admin runs. */
void control_port_set_loader(struct control_port *port, port_load *load, void *closure,
                             const char *path);

struct port_reload {
    size_t change_count;  /* of what is asked for from what is in effect; may be more than fit */
    size_t applied_count; /* of those: in effect now */
    size_t refused_count; /* of those: nodes that could not be added or removed; NOTE says why */
    char note[256];       /* of the first of them */
    struct diff_change changes[DIFF_CHANGES_MAX];
    struct config_error error; /* on an error */
};

/*
 * Read the configuration anew; what may change while the proxy runs takes effect, the rest is only
 * told: it takes a restart. Nodes that the file names anew, or no more, since it was read last come
 * into the pool and leave it, for all its proxies; this waits for them.
 *
 * Errors  STATUS_NOT_FOUND: there is no loader; the loader's own: nothing has changed.
 */
MUST_CHECK enum status control_port_reload(struct control_port *port, struct port_reload *out);

/*
 * Put FRESH in effect, which is taken: all of it, or nothing.
 *
 * Errors  STATUS_BAD_CONFIG: something in it takes a restart; OUT says what.
 */
MUST_CHECK enum status control_port_apply(struct control_port *port, struct config **fresh,
                                          struct port_reload *out);

/*
 * Make EDIT in the configuration's file. It is not carried out by that, nor again by the next
 * reload.
 *
 * Errors  STATUS_NOT_FOUND: there is no file; edit_file's.
 */
MUST_CHECK enum status control_port_write_node(struct control_port *port,
                                               const struct edit_node *edit,
                                               struct config_error *error);

/* What is in effect, a copy for config_destroy. Errors  STATUS_NO_MEMORY. */
MUST_CHECK enum status control_port_config(struct control_port *port, struct config **out);

/* --- What workers are asked --- */

/*
 * Clients, at most INSPECT_CLIENTS_MAX of each worker, in no order; slow requests, each worker's
 * and pool's latest first; hot keys, where one key may come from several workers.
 *
 *   count  receives the number written to OUT, at most CAPACITY
 *   total  receives: all clients; all slow requests since the start; samples behind the keys
 *
 * Errors  STATUS_FULL: too many ask at once, or a worker does not answer; OUT has what others said.
 */
MUST_CHECK enum status control_port_clients(struct control_port *port, struct proxy_client *out,
                                            size_t capacity, size_t *count, uint64_t *total);
MUST_CHECK enum status control_port_slow(struct control_port *port, struct proxy_slow *out,
                                         size_t capacity, size_t *count, uint64_t *total);
MUST_CHECK enum status control_port_hot(struct control_port *port, struct proxy_hot *out,
                                        size_t capacity, size_t *count, uint64_t *total);

/* Close a client's connection. Errors  STATUS_NOT_FOUND, STATUS_FULL. */
MUST_CHECK enum status control_port_kill_client(struct control_port *port, uint64_t id);

/* --- Events --- */

struct port_event {
    uint64_t sequence; /* from 1, no gaps */
    uint64_t wall_us;
    uint32_t pool; /* its id, or PORT_NO_POOL */
    char pool_name[POOL_NAME_BYTES_MAX + 1];
    struct trace_event trace;
};

/*
 * Read remembered events with sequence numbers from FROM on, oldest first.
 *
 * Returns  number of events written to OUT, at most CAPACITY. When FROM is older than what is
 *          remembered it begins with the oldest: out[0].sequence tells.
 */
size_t control_port_events(struct control_port *port, uint64_t from, struct port_event *out,
                           size_t capacity);
/* The sequence number of the next event. */
uint64_t control_port_events_next(struct control_port *port);

enum port_await {
    PORT_AWAIT_THERE,   /* it can be read, or was there once */
    PORT_AWAIT_TIMEOUT, /* TIMEOUT_MS have passed */
    PORT_AWAIT_CLOSED,  /* nobody is to wait any more */
};
/* Wait until the event with this number has happened. */
enum port_await control_port_await_event(struct control_port *port, uint64_t number,
                                         uint32_t timeout_ms);
/* End all waits for events, for good: before the threads that wait are to end. */
void control_port_close_events(struct control_port *port);

/* --- Tasks --- */

/*
 * Begin a task, WAITING or RUNNING, with asked_us set, id 0.
 *
 *   task  filled with what is now in the table: its id; or, where the same work is under way for
 *         that node, that task, as it is
 *
 * Errors  STATUS_FULL: TASKS_MAX are under way.
 */
MUST_CHECK enum status control_port_task_add(struct control_port *port, struct task *task);
/* False: no such task, or so old that it was forgotten. */
bool control_port_task_find(struct control_port *port, uint64_t id, struct task *out);
/* The youngest first. Returns their number, at most CAPACITY. */
size_t control_port_task_list(struct control_port *port, struct task *out, size_t capacity);
/* Who does the work of a task (verify) tells how it stands; ended tasks stay as they are. What must
 * not go on shows by is_cancel_asked of the task found. */
void control_port_task_update(struct control_port *port, const struct task *task);
/* Ask that a task ends. Those of fills don't: OUT shows what became of it. False: no such task. */
bool control_port_task_cancel(struct control_port *port, uint64_t id, struct task *out);

#endif
