/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every key once: where its value goes, what it may be, what it is when nobody says. A default goes
 * through the same code as a value that was written, so it can't be out of its own range.
 *
 * A choice that is named in the design and not built is listed after the built ones: it is then
 * refused as such, and not as a typing error.
 */
#include "key.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/suggest.h"
#include "everwarm/config/config.h"
#include "everwarm/config/value.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_CLIENTS_MAX = 1000000, /* fds of one process; beyond it, run two */
    UNIX_PATH_BYTES_MAX = 107, /* sun_path without its final zero */
    PIPELINE_MAX = 65536,      /* above it a client is a queue */
    WINDOW_MAX = 1024,         /* core/fill.h: FILL_WINDOW_MAX */
    PORT_DATA = 11210,
    PORT_ADMIN = 11280,
    PORT_NODE = 11211,
};

#define US_MS UINT64_C(1000)
#define US_S  UINT64_C(1000000)
#define US_H  (3600 * US_S)
#define KB    UINT64_C(1024)
#define MB    (1024 * KB)
#define GB    (1024 * MB)

#define AT_ROOT(field) .scope = KEY_SCOPE_ROOT, .offset = offsetof(struct config, field)
#define AT_POOL(field) .scope = KEY_SCOPE_POOL, .offset = offsetof(struct config_pool, field)
#define AT_NODE(field) .scope = KEY_SCOPE_NODE, .offset = offsetof(struct config_node, field)
#define UNUSED_POOL    .scope = KEY_SCOPE_POOL, .offset = KEY_NOT_STORED
#define UNUSED_ROOT    .scope = KEY_SCOPE_ROOT, .offset = KEY_NOT_STORED

#define DURATION(low, high) .type = KEY_TYPE_DURATION, .min = (low), .max = (high)
#define SIZE(low, high)     .type = KEY_TYPE_SIZE, .min = (low), .max = (high)
#define COUNT(low, high)    .type = KEY_TYPE_COUNT, .min = (low), .max = (high)
#define TEXT(low, high)     .type = KEY_TYPE_TEXT, .min = (low), .max = (high)
#define CHOICE(n, ...)      .type = KEY_TYPE_CHOICE, .built_count = (n), .choices = {__VA_ARGS__}

static const struct key KEYS[] = {
    {"listen", AT_ROOT(listen), .type = KEY_TYPE_LISTENERS, .port = PORT_DATA,
     .fallback = "127.0.0.1:11210", .is_live = true,
     .help = "where clients of the first pool connect"},
    {"threads", AT_ROOT(threads_count), COUNT(1, WORKERS_MAX), .fallback_help = "number of cores",
     .help = "worker threads"},
    {"max_clients", AT_ROOT(max_clients_count), COUNT(1, MAX_CLIENTS_MAX), .fallback = "10000",
     .is_live = true, .live_max = CONFIG_CLIENT_SLOTS_MIN, .help = "client connections at most"},
    {"admin.listen", AT_ROOT(admin_listen), .type = KEY_TYPE_ADDRESS, .port = PORT_ADMIN,
     .fallback = "127.0.0.1:11280", .help = "HTTP for operators; null: off"},
    {"admin.socket", AT_ROOT(admin_socket), TEXT(1, UNIX_PATH_BYTES_MAX),
     .help = "the same on a unix socket"},
    {"admin.tokens", AT_ROOT(admin_tokens), TEXT(1, CONFIG_PATH_BYTES_MAX - 1),
     .help = "file of hashed tokens and roles, mode 600; null: none are needed"},
    {"pools", AT_ROOT(pools), .type = KEY_TYPE_ARRAY, .min = 1, .max = POOLS_MAX,
     .help = "the pools; one alone may be written at the top level"},
    {"limits.item", AT_ROOT(item_bytes), SIZE(KB, 128 * MB), .fallback = "1mb",
     .help = "largest value; as memcached's -I"},
    {"limits.memory", AT_ROOT(memory_bytes), SIZE(MB, 1024 * GB), .fallback = "256mb",
     .help = "buffers of all workers; at least 4 items for each worker"},
    {"limits.client_output", AT_ROOT(client_output_bytes), SIZE(64 * KB, GB), .fallback = "16mb",
     .is_live = true, .tied = {"limits.item"}, .help = "replies that one client has not taken yet"},
    {"limits.client_pipeline", AT_ROOT(client_pipeline_count), COUNT(1, PIPELINE_MAX),
     .fallback = "256", .is_live = true, .help = "requests of one client under way"},
    {"limits.client_stall", AT_ROOT(client_stall_us), DURATION(100 * US_MS, US_H),
     .fallback = "30s", .is_live = true,
     .help = "a client that takes no reply, or does not end its request, for so long is closed"},
    {"state_file", AT_ROOT(state_file), TEXT(1, CONFIG_PATH_BYTES_MAX - 1),
     .help = "where operators' words outlive a restart"},
    {"log.format", AT_ROOT(log_format), CHOICE(2, "text", "json"), .fallback = "text",
     .is_live = true, .help = "one line an event either way"},
    {"log.level", AT_ROOT(log_level), CHOICE(4, "error", "warning", "info", "debug"),
     .fallback = "info", .is_live = true, .help = "the least that is logged"},
    {"resp.listen", UNUSED_ROOT, .type = KEY_TYPE_ADDRESS,
     .unbuilt = "the RESP port is not built yet in this release; leave it null",
     .help = "RESP for operators"},

    {"name", AT_POOL(name), TEXT(1, POOL_NAME_BYTES_MAX), .fallback = "main",
     .help = "letters, digits, '.', '-', '_'; part of the reserved keys"},
    {"listen", AT_POOL(listen), .type = KEY_TYPE_LISTENERS, .port = PORT_DATA, .is_live = true,
     .help = "where clients of this pool connect; the first pool has the top-level ones too"},
    {"nodes", AT_POOL(nodes), .type = KEY_TYPE_ARRAY, .min = 1, .max = NODES_MAX,
     .help = "its memcacheds: objects, or addresses alone"},
    {"replicas", UNUSED_POOL, CHOICE(1, "all"), .fallback = "all",
     .unbuilt = "shards are not built yet in this release", .help = "how many nodes hold each key"},
    {"distribution", UNUSED_POOL,
     CHOICE(1, "rendezvous", "ketama", "modula", "jump", "magent", "libmemcached", "twemproxy",
            "spymemcached"),
     .fallback = "rendezvous", .help = "orders the replicas of a key, so spreads the leaders"},
    {"hash", UNUSED_POOL,
     CHOICE(1, "xxh3", "md5", "fnv1a_64", "fnv1a_32", "fnv1_32", "fnv1_64", "crc32", "crc16",
            "murmur", "jenkins", "hsieh", "djb"),
     .fallback = "xxh3", .help = "of the key, for the distribution"},
    {"hash_tag", UNUSED_POOL, TEXT(2, 2),
     .unbuilt = "hash tags are not built yet in this release; leave it null",
     .help = "two characters: only what stands between them in a key is hashed"},
    {"read", AT_POOL(read), CHOICE(3, "leader", "nearest", "spread"), .fallback = "leader",
     .is_live = true,
     .help = "which replica answers reads; all but the leader may be a moment behind"},
    {"ack", AT_POOL(ack), CHOICE(2, "all", "leader"), .fallback = "all", .is_live = true,
     .help = "whose answers a write waits for"},
    {"miss_fallback", AT_POOL(miss_fallback), CHOICE(3, "auto", "always", "never"),
     .fallback = "auto", .is_live = true, .help = "whether a miss asks the next replica"},
    {"on_no_replica", AT_POOL(on_no_replica), CHOICE(2, "miss", "error"), .fallback = "miss",
     .is_live = true, .help = "what a read gets when no complete replica is left"},
    {"timeouts.connect", AT_POOL(connect_timeout_us), DURATION(US_MS, 60 * US_S),
     .fallback = "200ms", .is_live = true, .tied = {"health.interval", "health.lease"},
     .help = "to a node"},
    {"timeouts.request", AT_POOL(request_timeout_us), DURATION(10 * US_MS, 600 * US_S),
     .fallback = "1500ms", .is_live = true, .tied = {"health.interval", "health.lease"},
     .help = "a request at most; above health.lease + 2 x health.interval"},
    {"health.interval", AT_POOL(health_interval_us), DURATION(10 * US_MS, 60 * US_S),
     .fallback = "200ms", .help = "between two rounds of checks"},
    {"health.timeout", AT_POOL(health_timeout_us), DURATION(US_MS, 30 * US_S),
     .fallback_help = "half of health.interval", .is_live = true,
     .tied = {"health.interval", "health.lease"}, .help = "of one check; at most the default"},
    {"health.lease", AT_POOL(lease_us), DURATION(30 * US_MS, 300 * US_S),
     .fallback_help = "5 x health.interval",
     .help = "a proxy silent for so long is dead to the others; at least 3 x health.interval"},
    {"health.fall", AT_POOL(health_fall_count), COUNT(1, 100), .fallback = "3", .is_live = true,
     .help = "failed checks in a row that take a node down"},
    {"health.rise", AT_POOL(health_rise_count), COUNT(1, 100), .fallback = "2", .is_live = true,
     .help = "good checks in a row that bring it up"},
    {"health.hold_down_max", AT_POOL(hold_down_max_us), DURATION(US_S, 24 * US_H),
     .fallback = "60s", .is_live = true,
     .help = "longest pause before a flapping node is filled again"},
    {"split", AT_POOL(split), CHOICE(2, "serve", "stop"), .fallback = "serve", .is_live = true,
     .help = "what a proxy does that reaches no majority of the nodes"},
    {"last_copy", AT_POOL(last_copy), CHOICE(2, "flush", "keep"), .fallback = "flush",
     .is_live = true, .help = "old data on a node that must stand in for a lost last copy"},
    {"fill.rate", AT_POOL(fill_rate_bytes), SIZE(0, 1024 * GB), .fallback = "0", .is_live = true,
     .help = "bytes a second; 0: no fixed limit, still adaptive"},
    {"fill.window", AT_POOL(fill_window_count), COUNT(1, WINDOW_MAX), .fallback = "256",
     .is_live = true, .help = "keys of a fill under way"},
    {"fill.warm_for", AT_POOL(warm_for_us), DURATION(0, 720 * US_H), .fallback = "10m",
     .is_live = true,
     .help = "a warming node that had 99 % of what was read for so long enters; 0: by word only"},
    {"settle.delay", AT_POOL(settle_delay_us), DURATION(0, 60 * US_S), .fallback = "20ms",
     .is_live = true, .help = "after a write, before its copies are compared"},
    {"verify.background", AT_POOL(is_verify_background), .type = KEY_TYPE_FLAG, .fallback = "true",
     .is_live = true, .help = "compare copies all the time, and mend what differs"},
    {"verify.rate", AT_POOL(verify_rate_bytes), SIZE(0, 1024 * GB), .fallback = "2mb",
     .is_live = true,
     .help = "bytes a second in the background; 0: no fixed limit, still adaptive"},

    {"name", AT_NODE(name), TEXT(1, NODE_NAME_BYTES_MAX), .fallback_help = "the address",
     .help = "in URLs, metrics and views; unique over all pools"},
    {"address", AT_NODE(address), .type = KEY_TYPE_ADDRESS, .port = PORT_NODE,
     .fallback_help = "required", .help = "HOST[:PORT], [V6]:PORT or unix:/path"},
    {"weight", AT_NODE(weight), COUNT(1, 1), .fallback = "1",
     .unbuilt = "weights are not built yet in this release; leave it 1",
     .help = "its share of leaders"},
    {"zone", AT_NODE(zone), TEXT(1, CONFIG_ZONE_BYTES_MAX), .help = "where it stands"},
};

const struct key *key_table(size_t *count)
{
    *count = sizeof(KEYS) / sizeof(KEYS[0]);
    return KEYS;
}

_Static_assert(sizeof(KEYS) / sizeof(KEYS[0]) <= 64, "a bit for each key");

uint64_t key_bit(const struct key *key)
{
    return UINT64_C(1) << (key - KEYS);
}

struct config_given *key_given(enum key_scope scope, void *base)
{
    switch (scope) {
    case KEY_SCOPE_ROOT:
        return &((struct config *)base)->given;
    case KEY_SCOPE_POOL:
        return &((struct config_pool *)base)->given;
    case KEY_SCOPE_NODE:
        return &((struct config_node *)base)->given;
    case KEY_SCOPE_COUNT:
        break;
    }
    UNREACHABLE();
}

/* What stands after the section's dot, or all of it. */
static const char *name_of(const struct key *key)
{
    const char *dot = strchr(key->path, '.');
    return dot != NULL ? dot + 1 : key->path;
}

static bool is_in_section(const struct key *key, const char *section)
{
    const size_t len = (size_t)(name_of(key) - key->path);
    if (section == NULL) {
        return len == 0;
    }
    return len == strlen(section) + 1 && memcmp(key->path, section, len - 1) == 0;
}

const struct key *key_find(enum key_scope scope, const char *section, const char *name)
{
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        const struct key *key = &KEYS[i];
        if (key->scope == scope && is_in_section(key, section) && strcmp(name_of(key), name) == 0) {
            return key;
        }
    }
    return NULL;
}

const struct key *key_at(enum key_scope scope, const char *path)
{
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        if (KEYS[i].scope == scope && strcmp(KEYS[i].path, path) == 0) {
            return &KEYS[i];
        }
    }
    UNREACHABLE();
}

bool key_is_section(enum key_scope scope, const char *name)
{
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        if (KEYS[i].scope == scope && is_in_section(&KEYS[i], name)) {
            return true;
        }
    }
    return false;
}

/* The section of KEY, cut out into OUT; empty when it has none. */
static void section_of(const struct key *key, char *out, size_t size)
{
    const char *dot = strchr(key->path, '.');
    (void)snprintf(out, size, "%.*s", dot != NULL ? (int)(dot - key->path) : 0, key->path);
}

void key_suggest(enum key_scope scope, const char *section, const char *name, char *out,
                 size_t size)
{
    struct suggest s = suggest_begin(name);
    const char *elsewhere = NULL;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        const struct key *key = &KEYS[i];
        if (key->scope != scope) {
            continue;
        }
        if (is_in_section(key, section)) {
            suggest_offer(&s, name_of(key));
        } else if (strcmp(name_of(key), name) == 0) {
            elsewhere = key->path;
        }
        char own_section[32];
        section_of(key, own_section, sizeof(own_section));
        if (section == NULL && own_section[0] != '\0') {
            const size_t before = s.distance;
            suggest_offer(&s, own_section);
            if (s.distance < before) {
                (void)snprintf(out, size, "%s", own_section);
                s.best = out;
            }
        }
    }
    if (s.best != NULL && s.best != out) {
        (void)snprintf(out, size, "%s", s.best);
    } else if (s.best == NULL && elsewhere != NULL) {
        (void)snprintf(out, size, "%s", elsewhere);
    }
}

const char *key_json_type(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a number";
    case JSON_REAL:
        return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    UNREACHABLE();
}

enum value_unit key_unit(const struct key *key)
{
    if (key->type == KEY_TYPE_DURATION) {
        return VALUE_UNIT_DURATION;
    }
    return key->type == KEY_TYPE_SIZE ? VALUE_UNIT_SIZE : VALUE_UNIT_NONE;
}

void key_list_choices(const struct key *key, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < key->built_count && used < size; i++) {
        const char *glue = i == 0 ? "" : i + 1 == key->built_count ? " or " : ", ";
        used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", glue, key->choices[i]);
    }
}

void key_expect(const struct key *key, char *out, size_t size)
{
    const char *text = NULL;
    switch (key->type) {
    case KEY_TYPE_DURATION:
        text = "a duration like \"250ms\" (us, ms, s, m, h)";
        break;
    case KEY_TYPE_SIZE:
        text = "a size like \"64mb\" (b, kb, mb, gb, tb), or \"0\"";
        break;
    case KEY_TYPE_COUNT:
        text = "a whole number";
        break;
    case KEY_TYPE_FLAG:
        text = "true or false";
        break;
    case KEY_TYPE_TEXT:
        text = "a string, or null";
        break;
    case KEY_TYPE_CHOICE:
        key_list_choices(key, out, size);
        return;
    case KEY_TYPE_ADDRESS:
        text = "an address: HOST[:PORT], [V6]:PORT or unix:/path";
        break;
    case KEY_TYPE_LISTENERS:
        text = "an address or an array of them";
        break;
    case KEY_TYPE_ARRAY:
        text = "an array";
        break;
    }
    (void)snprintf(out, size, "%s", text);
}

void key_describe(const struct key *key, char *out, size_t size)
{
    char low[VALUE_TEXT_BYTES_MAX];
    char high[VALUE_TEXT_BYTES_MAX];
    const enum value_unit unit = key_unit(key);
    value_format(key->min, unit, low);
    value_format(key->max, unit, high);
    const bool is_number =
        key->type == KEY_TYPE_DURATION || key->type == KEY_TYPE_SIZE || key->type == KEY_TYPE_COUNT;
    if (is_number) {
        (void)snprintf(out, size, "%s to %s", low, high);
    } else {
        key_expect(key, out, size);
    }
}
