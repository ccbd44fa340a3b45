/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration: read from a JSON file, from flags, or from both, checked, complete with its
 * defaults, and unchanged from then on. The keys and their ranges are in src/config/key.c.
 */
#ifndef EVERWARM_CONFIG_CONFIG_H
#define EVERWARM_CONFIG_CONFIG_H

#include "everwarm/base/limits.h"
#include "everwarm/base/status.h"
#include "everwarm/config/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct options;

enum {
    CONFIG_PATH_BYTES_MAX = 4096, /* PATH_MAX */
    CONFIG_TEXT_BYTES_MAX = 512,  /* one message: a path of keys, a clipped value, what to write */
    CONFIG_WARNINGS_MAX = 64,     /* two for each pool, and one for each other key that gives one */
    CONFIG_ZONE_BYTES_MAX = 64,
    /* Room for clients is kept for at least so many, so that max_clients may be raised to it while
     * the proxy runs; memory is taken as they come. */
    CONFIG_CLIENT_SLOTS_MIN = 65536,
};

/* What a read gets when no complete replica is left. */
enum config_read { CONFIG_READ_LEADER, CONFIG_READ_NEAREST, CONFIG_READ_SPREAD };
enum config_ack { CONFIG_ACK_ALL, CONFIG_ACK_LEADER };
enum config_fallback { CONFIG_FALLBACK_AUTO, CONFIG_FALLBACK_ALWAYS, CONFIG_FALLBACK_NEVER };

enum config_no_replica {
    CONFIG_NO_REPLICA_MISS,
    CONFIG_NO_REPLICA_ERROR,
};

enum config_split { CONFIG_SPLIT_SERVE, CONFIG_SPLIT_STOP };
enum config_last_copy { CONFIG_LAST_COPY_FLUSH, CONFIG_LAST_COPY_KEEP };

enum config_log_format {
    CONFIG_LOG_FORMAT_TEXT,
    CONFIG_LOG_FORMAT_JSON,
};

/* Each level shows those before it too. */
enum config_log_level {
    CONFIG_LOG_LEVEL_ERROR,
    CONFIG_LOG_LEVEL_WARNING,
    CONFIG_LOG_LEVEL_INFO,
    CONFIG_LOG_LEVEL_DEBUG,
};

/* Which keys of a scope somebody set: bit i is key i of the table in src/config/key.c. */
struct config_given {
    uint64_t file;
    uint64_t flag;
    uint64_t patch; /* while it runs */
};

struct config_node {
    char name[NODE_NAME_BYTES_MAX + 1]; /* unique over all pools; graphic ASCII */
    struct address address;             /* unique over all pools; the port is never 0 */
    uint32_t weight;                    /* 1 in this release */
    char zone[CONFIG_ZONE_BYTES_MAX + 1];
    struct config_given given;
};

struct config_pool {
    char name[POOL_NAME_BYTES_MAX + 1]; /* letters, digits, '.', '-', '_' */
    struct address_list listen;         /* all of them; the first pool's with the top-level ones */
    struct config_node nodes[NODES_MAX];
    size_t node_count; /* 1..NODES_MAX */
    enum config_read read;
    enum config_ack ack;
    enum config_fallback miss_fallback;
    enum config_no_replica on_no_replica;
    enum config_split split;
    enum config_last_copy last_copy;
    uint64_t connect_timeout_us;
    uint64_t request_timeout_us; /* above lease_us + 2 x health_interval_us */
    uint64_t health_interval_us;
    uint64_t health_timeout_us; /* at most half of the interval */
    uint64_t lease_us;          /* at least 3 intervals */
    uint32_t health_fall_count;
    uint32_t health_rise_count;
    uint64_t hold_down_max_us;
    uint64_t fill_rate_bytes; /* a second; 0: no fixed limit */
    uint32_t fill_window_count;
    uint64_t warm_for_us; /* 0: a warming node enters by an operator's word only */
    uint64_t settle_delay_us;
    bool is_verify_background;
    uint64_t verify_rate_bytes; /* a second, in the background; 0: no fixed limit */
    struct config_given given;
};

struct config {
    struct address_list listen; /* top level, as given; part of pools[0].listen too */
    uint32_t threads_count;     /* 1..WORKERS_MAX */
    uint32_t max_clients_count;
    struct address admin_listen;              /* loopback, or with tokens; ADDRESS_NONE: off */
    char admin_socket[CONFIG_PATH_BYTES_MAX]; /* empty: none */
    char admin_tokens[CONFIG_PATH_BYTES_MAX]; /* empty: none are needed */
    struct config_pool pools[POOLS_MAX];
    size_t pool_count;                      /* 1..POOLS_MAX */
    uint64_t item_bytes;                    /* largest value */
    uint64_t memory_bytes;                  /* all workers together: 4 items each, or more */
    uint64_t client_output_bytes;           /* owed to one client; at least one item */
    uint32_t client_pipeline_count;         /* requests of one client under way */
    uint64_t client_stall_us;               /* a client that stands still for so long is closed */
    char state_file[CONFIG_PATH_BYTES_MAX]; /* empty: none */
    enum config_log_format log_format;
    enum config_log_level log_level;
    struct config_given given;
    size_t warning_count; /* to be said at start: harmless, but not what one might expect */
    char warnings[CONFIG_WARNINGS_MAX][CONFIG_TEXT_BYTES_MAX];
};

/* What is wrong and where. */
struct config_error {
    char path[CONFIG_PATH_BYTES_MAX]; /* the file; empty: the command line */
    size_t line;                      /* from 1; 0: no place in the file */
    size_t column;                    /* from 1, in characters; 0 with line 0 */
    char message[CONFIG_TEXT_BYTES_MAX];
};

/*
 * Load the file at PATH.
 *
 *   path   borrowed
 *   out    receives a new config, for config_destroy; NULL on an error
 *   error  caller's; filled on an error
 *
 * Errors  STATUS_SYSTEM: can't be read; STATUS_BAD_CONFIG: its text; STATUS_NO_MEMORY.
 * Thread  any.
 */
MUST_CHECK enum status config_load_file(const char *path, struct config **out,
                                        struct config_error *error);

/* As config_load_file, with the LEN bytes of TEXT in place of what is in a file called PATH. */
MUST_CHECK enum status config_load_text(const char *path, const char *text, size_t len,
                                        struct config **out, struct config_error *error);

/*
 * Build the config that OPTIONS ask for: from its file with the flags beside it laid over, or from
 * the flags alone as one mirror called "main".
 *
 *   options          borrowed; from options_parse, action OPTIONS_RUN or OPTIONS_TEST_CONFIG
 *   local_addresses  borrowed; options->local_count addresses of the memcacheds that --local
 * started out, error       as for config_load_file
 *
 * Errors  as config_load_file's; STATUS_BAD_ARGUMENT: a flag's value.
 */
MUST_CHECK enum status config_from_options(const struct options *options,
                                           const char *const *local_addresses, struct config **out,
                                           struct config_error *error);

/* Room for so many clients is kept. */
static inline uint32_t config_client_slots(const struct config *config)
{
    return config->max_clients_count > CONFIG_CLIENT_SLOTS_MIN ? config->max_clients_count
                                                               : CONFIG_CLIENT_SLOTS_MIN;
}

/* Free *CONFIG, which may be NULL, and null it. */
void config_destroy(struct config **config);

/* Write "FILE:LINE:COLUMN: message" to OUT, without the parts that ERROR lacks. */
void config_error_format(const struct config_error *error, char *out, size_t size);
/* The same and a newline. */
void config_error_print(const struct config_error *error, FILE *out);

/* Write every key with its type, default, range and meaning to OUT: --help-config. */
void config_help(FILE *out);

#endif
