/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keeper reads the event stream like any watcher: a word that the view replaced (another proxy
 * was told something else) is forgotten with its reason and its end. Once a second it looks for
 * words whose time is over.
 *
 * What all nodes' words are by the view goes into the state file whenever it changes. What was in
 * it at the start counts where the view was lost with all nodes (this proxy made the first one):
 * then it is said again. Elsewhere the view is right: reasons and ends alone come from the file.
 *
 * I1  An end is carried out once: the entry is gone before the node is taken back. If the proxy
 *     can't do it (it is starting, or has no lease), the entry comes back and is tried again.
 */
#include "words.h"

#include "facts.h"
#include "state.h"

#include "everwarm/base/invariant.h"
#include "everwarm/shell/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    /* Ends are told in seconds at the finest. */
    LOOK_MS = 1000,
    /* Control answers within the request timeout; an end that takes longer is tried again. */
    COMMAND_TIMEOUT_MS = 5000,
    EVENTS_AT_A_TIME = 16,
};

static uint64_t wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* --- Under the mutex --- */

static struct word *find(struct words *words, const char *node)
{
    for (size_t i = 0; i < words->count; i++) {
        if (strcmp(words->entries[i].node, node) == 0) {
            return &words->entries[i];
        }
    }
    return NULL;
}

static void drop(struct words *words, struct word *word)
{
    words->count--;
    *word = words->entries[words->count];
}

/* --- Asked by routes --- */

void words_set(struct words *words, const struct word *word)
{
    const bool is_empty = word->reason[0] == '\0' && word->until_wall_us == 0;
    (void)pthread_mutex_lock(&words->mutex);
    struct word *kept = find(words, word->node);
    if (is_empty && kept != NULL) {
        drop(words, kept);
    } else if (!is_empty && (kept != NULL || words->count < WORDS_MAX)) {
        kept = kept != NULL ? kept : &words->entries[words->count++];
        *kept = *word;
    }
    words->is_dirty = true;
    (void)pthread_mutex_unlock(&words->mutex);
}

bool words_find(struct words *words, const char *node, enum node_admin admin, struct word *out)
{
    (void)pthread_mutex_lock(&words->mutex);
    const struct word *word = find(words, node);
    const bool is_found = word != NULL && word->admin == admin;
    if (is_found) {
        *out = *word;
    }
    (void)pthread_mutex_unlock(&words->mutex);
    return is_found;
}

/* --- The keeper --- */

/* An event may be read late, when the next word has come into effect, and figures may be older than
 * it: what both contradict is over. */
static void look_at_node(struct words *words, const struct proxy_pool *pool,
                         const struct trace_event *event)
{
    const enum node_admin now = pool->control.nodes[event->node].admin;
    (void)pthread_mutex_lock(&words->mutex);
    struct word *word = find(words, pool->nodes[event->node].name);
    if (word != NULL && word->admin != (enum node_admin)event->b && word->admin != now) {
        drop(words, word);
    }
    words->is_dirty = true;
    (void)pthread_mutex_unlock(&words->mutex);
}

/* Say a word of the state file again; refused like any other where no copy would be left. */
static void say_again(struct words *words, uint32_t pool, uint32_t node, const struct word *word)
{
    const struct control_port_request asked = {
        .pool = pool,
        .node = node,
        .type = word->admin == NODE_ADMIN_DRAIN ? CONTROL_COMMAND_DRAIN : CONTROL_COMMAND_MAINT,
        .timeout_ms = COMMAND_TIMEOUT_MS,
    };
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    const enum status status = control_port_command(words->port, &asked, &result);
    const bool is_said =
        status == STATUS_OK && (result == CONTROL_RESULT_OK || result == CONTROL_RESULT_UNCHANGED);
    log_line(is_said ? LOG_LEVEL_NOTICE : LOG_LEVEL_WARNING, "word-restored",
             LOG_TEXT("node", word->node), LOG_TEXT("word", node_admin_word(word->admin)),
             LOG_TEXT("result", is_said ? "done" : "refused"));
    if (is_said) {
        words_set(words, word);
    }
}

/* The pool serves: what the state file says of its nodes is either in the view, or to be said. */
static void restore(struct words *words, const struct proxy_pool *pool, uint32_t index)
{
    const bool is_first_start = pool->traces[TRACE_FIRST_START] > 0;
    for (size_t i = 0; i < words->restored_count; i++) {
        const struct word *word = &words->restored[i];
        for (uint32_t node = 0; node < pool->node_count; node++) {
            if (!facts_is_member(pool, node) || strcmp(pool->nodes[node].name, word->node) != 0) {
                continue;
            }
            if (pool->control.nodes[node].admin == word->admin) {
                words_set(words, word);
            } else if (is_first_start && word->admin != NODE_ADMIN_READY) {
                say_again(words, index, node, word);
            }
        }
    }
}

static void on_event(struct words *words, const struct port_event *event)
{
    struct proxy_snapshot *snapshot = NULL;
    const enum trace_type type = event->trace.type;
    if ((type != TRACE_NODE_ADMIN && type != TRACE_SERVING) ||
        control_port_snapshot(words->port, &snapshot) != STATUS_OK) {
        return;
    }
    const struct proxy_pool *pool = proxy_snapshot_pool(snapshot, event->pool);
    if (pool != NULL && type == TRACE_SERVING) {
        restore(words, pool, event->pool);
    } else if (pool != NULL && facts_is_member(pool, event->trace.node)) {
        look_at_node(words, pool, &event->trace);
    }
    proxy_snapshot_destroy(&snapshot);
}

/* --- The state file --- */

/* All nodes that are not simply ready, with what was said of them. */
static size_t collect(struct words *words, const struct proxy_snapshot *snapshot,
                      struct word out[WORDS_MAX])
{
    size_t count = 0;
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        const struct proxy_pool *pool = &snapshot->pools[p];
        for (uint32_t i = 0; i < pool->node_count; i++) {
            if (!facts_is_member(pool, i)) {
                continue;
            }
            struct word *word = &out[count];
            const enum node_admin admin = pool->control.nodes[i].admin;
            if (!words_find(words, pool->nodes[i].name, admin, word)) {
                *word = (struct word){.admin = admin};
                (void)snprintf(word->node, sizeof(word->node), "%s", pool->nodes[i].name);
            }
            count += admin != NODE_ADMIN_READY || word->reason[0] != '\0';
        }
    }
    return count;
}

static void save(struct words *words)
{
    (void)pthread_mutex_lock(&words->mutex);
    const bool is_due = words->is_dirty && words->options.state_path != NULL;
    words->is_dirty = false;
    (void)pthread_mutex_unlock(&words->mutex);
    struct proxy_snapshot *snapshot = NULL;
    if (!is_due || control_port_snapshot(words->port, &snapshot) != STATUS_OK) {
        return;
    }
    char error[256];
    struct word *all = calloc(WORDS_MAX, sizeof(*all));
    if (all != NULL && !state_write(words->options.state_path, all, collect(words, snapshot, all),
                                    error, sizeof(error))) {
        log_line(LOG_LEVEL_ERROR, "state-file", LOG_TEXT("error", error));
    }
    free(all);
    proxy_snapshot_destroy(&snapshot);
}

static void load(struct words *words)
{
    char error[256] = "";
    words->restored_count =
        words->options.state_path == NULL
            ? 0
            : state_read(words->options.state_path, words->restored, error, sizeof(error));
    if (error[0] != '\0') {
        log_line(LOG_LEVEL_WARNING, "state-file", LOG_TEXT("ignored", error));
    }
}

/* Take one word whose time is over out of the table; false: none. */
static bool take_due(struct words *words, uint64_t now_wall_us, struct word *out)
{
    bool is_due = false;
    (void)pthread_mutex_lock(&words->mutex);
    for (size_t i = 0; i < words->count && !is_due; i++) {
        const uint64_t until_us = words->entries[i].until_wall_us;
        if (until_us != 0 && until_us <= now_wall_us) {
            *out = words->entries[i];
            drop(words, &words->entries[i]);
            is_due = true;
        }
    }
    (void)pthread_mutex_unlock(&words->mutex);
    return is_due;
}

/* False: it is to be tried again. */
static bool take_back(struct words *words, const struct word *word)
{
    struct control_port_request asked = {.type = CONTROL_COMMAND_READY,
                                         .timeout_ms = COMMAND_TIMEOUT_MS};
    if (!control_port_find_node(words->port, word->node, &asked.pool, &asked.node)) {
        return true; /* it was removed */
    }
    log_line(LOG_LEVEL_NOTICE, "word-ended", LOG_TEXT("node", word->node),
             LOG_TEXT("word", node_admin_word(word->admin)), LOG_TEXT("reason", word->reason));
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    const enum status status = control_port_command(words->port, &asked, &result);
    return status == STATUS_OK &&
           (result == CONTROL_RESULT_OK || result == CONTROL_RESULT_UNCHANGED);
}

static void end_words(struct words *words)
{
    struct word word;
    const uint64_t now_wall_us = wall_us();
    while (take_due(words, now_wall_us, &word)) {
        if (!take_back(words, &word)) {
            words_set(words, &word);
            return; /* it can't now: in a second, again */
        }
    }
}

static void *keep(void *arg)
{
    struct words *words = arg;
    struct port_event events[EVENTS_AT_A_TIME];
    uint64_t next = words->first_event;
    for (;;) {
        const size_t count = control_port_events(words->port, next, events, EVENTS_AT_A_TIME);
        for (size_t i = 0; i < count; i++) {
            on_event(words, &events[i]);
            next = events[i].sequence + 1;
        }
        if (count == 0 &&
            control_port_await_event(words->port, next, LOOK_MS) == PORT_AWAIT_CLOSED) {
            return NULL;
        }
        end_words(words);
        save(words);
        words->options.on_tick(words->options.closure);
    }
}

enum status words_start(struct words *words, const struct words_options *options)
{
    memset(words, 0, sizeof(*words));
    words->options = *options;
    words->port = options->port;
    words->first_event = control_port_events_next(words->port); /* however late the thread begins */
    load(words);
    INVARIANT(pthread_mutex_init(&words->mutex, NULL) == 0);
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all); /* signals are main's */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    words->is_running = pthread_create(&words->keeper, NULL, keep, words) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!words->is_running) {
        (void)pthread_mutex_destroy(&words->mutex);
        return STATUS_SYSTEM;
    }
    return STATUS_OK;
}

void words_stop(struct words *words)
{
    if (words->is_running) {
        (void)pthread_join(words->keeper, NULL);
        (void)pthread_mutex_destroy(&words->mutex);
        words->is_running = false;
    }
}
