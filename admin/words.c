/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keeper reads the event stream like any watcher: a word that the view replaced (another proxy
 * was told something else) is forgotten with its reason and its end. Once a second it looks for
 * words whose time is over.
 *
 * I1  An end is carried out once: the entry is gone before the node is taken back. If the proxy
 *     can't do it (it is starting, or has no lease), the entry comes back and is tried again.
 */
#include "words.h"

#include "everwarm/base/invariant.h"
#include "everwarm/shell/log.h"

#include <signal.h>
#include <stdio.h>
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
    (void)pthread_mutex_unlock(&words->mutex);
}

static void on_event(struct words *words, const struct port_event *event)
{
    struct proxy_snapshot *snapshot = NULL;
    if (event->trace.type != TRACE_NODE_ADMIN ||
        control_port_snapshot(words->port, &snapshot) != STATUS_OK) {
        return;
    }
    if (event->pool < snapshot->pool_count &&
        event->trace.node < snapshot->pools[event->pool].node_count) {
        look_at_node(words, &snapshot->pools[event->pool], &event->trace);
    }
    proxy_snapshot_destroy(&snapshot);
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
    uint64_t next = control_port_events_next(words->port);
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
    }
}

enum status words_start(struct words *words, struct control_port *port)
{
    memset(words, 0, sizeof(*words));
    words->port = port;
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
