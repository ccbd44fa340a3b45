/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The admin API started in front of a control port of our own, and a client that sends what it is
 * told. Definitions, for exactly one file of a program: as a library member the port would stand
 * beside the shell's real one.
 */
#ifndef EVERWARM_TESTS_UNIT_ADMIN_FIXTURE_H
#define EVERWARM_TESTS_UNIT_ADMIN_FIXTURE_H

#include "../../admin/route.h"
#include "everwarm/admin/admin.h"
#include "everwarm/shell/control_port.h"

#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    ANSWER_BYTES_MAX = 512 << 10,
    NODES = 3,
    /* Sanitizers and a loaded machine are slow; nothing here should take a tenth of it. */
    DEADLINE_S = 20,
    BASE_S = 1767225600, /* 2026-01-01T00:00:00Z */
};

/* --- a control port of our own --- */

struct control_port {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t snapshot_bytes;
    struct proxy_snapshot *snapshot;
    enum status status;
    enum control_result result;
    size_t commands;      /* asked so far */
    size_t commands_held; /* waiting in here now */
    bool is_holding;      /* commands wait until this is false */
    struct control_port_request last;
    struct port_event events[8];
    size_t event_count; /* numbers first_event .. */
    uint64_t first_event;
    uint64_t awaited; /* the latest event that somebody waits for */
    bool is_closed;
    bool is_drained;
    size_t reloads;
    enum status apply_status;
    struct config applied;
    uint64_t killed;
    struct proxy_client clients[2];
    struct proxy_slow slow[2];
    struct proxy_hot hot[4];
    struct task tasks[4];
    size_t task_count;
    char written[256]; /* "POOL/NODE=ADDRESS" */
    enum status write_status;
};

static struct control_port port;
static struct config config;
static struct admin *admin;
static uint16_t admin_port;

const char *proxy_state_word(enum proxy_state state)
{
    switch (state) {
    case PROXY_STARTING:
        return "starting";
    case PROXY_RUNNING:
        return "running";
    case PROXY_DRAINED:
        return "drained";
    case PROXY_DRAINING:
        return "draining";
    }
    return "?";
}

const char *control_port_close_word(size_t reason)
{
    static const char *const WORDS[PORT_CLOSES_MAX] = {"client", "proxy", "reset", "killed",
                                                       "slow"};
    return WORDS[reason];
}

bool control_port_set_drained(struct control_port *of, bool is_drained)
{
    const bool is_changed = of->is_drained != is_drained;
    of->is_drained = is_drained;
    return is_changed;
}

enum status control_port_config(struct control_port *of, struct config **out)
{
    static const char TEXT[] = "{\"nodes\": [\"a\", \"b\"]}";
    struct config_error error;
    return of->status != STATUS_OK ? of->status
                                   : config_load_text("t", TEXT, strlen(TEXT), out, &error);
}

enum status control_port_reload(struct control_port *of, struct port_reload *out)
{
    of->reloads++;
    out->error = (struct config_error){.path = "f.json", .line = 3, .column = 7};
    (void)snprintf(out->error.message, sizeof(out->error.message), "nonsense");
    return of->status;
}

enum status control_port_apply(struct control_port *of, struct config **fresh,
                               struct port_reload *out)
{
    of->applied = **fresh;
    config_destroy(fresh);
    out->change_count = 2;
    out->applied_count = 2;
    out->changes[0] = (struct diff_change){"health.fall", "3", "4", true};
    out->changes[1] = (struct diff_change){"x", "\"cut he", "null", true};
    (void)snprintf(out->error.message, sizeof(out->error.message), "threads takes a restart");
    return of->apply_status;
}

/* What is there of LIST, as long as CAPACITY allows. */
#define ANSWER_FROM(list)                                                                          \
    do {                                                                                           \
        const size_t there = sizeof(list) / sizeof((list)[0]);                                     \
        *count = there < capacity ? there : capacity;                                              \
        *total = 100;                                                                              \
        memcpy(out, (list), *count * sizeof((list)[0]));                                           \
    } while (0)

enum status control_port_clients(struct control_port *of, struct proxy_client *out, size_t capacity,
                                 size_t *count, uint64_t *total)
{
    ANSWER_FROM(of->clients);
    return of->status;
}

enum status control_port_slow(struct control_port *of, struct proxy_slow *out, size_t capacity,
                              size_t *count, uint64_t *total)
{
    ANSWER_FROM(of->slow);
    return of->status;
}

enum status control_port_hot(struct control_port *of, struct proxy_hot *out, size_t capacity,
                             size_t *count, uint64_t *total)
{
    ANSWER_FROM(of->hot);
    return of->status;
}

enum status control_port_kill_client(struct control_port *of, uint64_t id)
{
    of->killed = id;
    return id == 1 ? of->status : STATUS_NOT_FOUND;
}

enum status control_port_snapshot(struct control_port *from, struct proxy_snapshot **out)
{
    *out = malloc(from->snapshot_bytes);
    ck_assert_ptr_nonnull(*out);
    ck_assert_int_eq(pthread_mutex_lock(&from->lock), 0);
    memcpy(*out, from->snapshot, from->snapshot_bytes);
    ck_assert_int_eq(pthread_mutex_unlock(&from->lock), 0);
    return STATUS_OK;
}

const struct proxy_pool *proxy_snapshot_pool(const struct proxy_snapshot *snapshot, uint32_t id)
{
    return id < snapshot->pool_count ? &snapshot->pools[id] : NULL;
}

void proxy_snapshot_destroy(struct proxy_snapshot **snapshot)
{
    free(*snapshot);
    *snapshot = NULL;
}

bool control_port_find_node(struct control_port *in, const char *name, uint32_t *pool,
                            uint32_t *node)
{
    *pool = 0;
    for (*node = 0; *node < in->snapshot->pools[0].node_count; (*node)++) {
        if (strcmp(in->snapshot->pools[0].nodes[*node].name, name) == 0) {
            return true;
        }
    }
    return false;
}

enum status control_port_command(struct control_port *to, const struct control_port_request *asked,
                                 enum control_result *result)
{
    ck_assert_int_eq(pthread_mutex_lock(&to->lock), 0);
    to->commands++;
    to->commands_held++;
    to->last = *asked;
    ck_assert_int_eq(pthread_cond_broadcast(&to->moved), 0);
    while (to->is_holding) {
        ck_assert_int_eq(pthread_cond_wait(&to->moved, &to->lock), 0);
    }
    to->commands_held--;
    *result = to->result;
    const enum status status = to->status;
    ck_assert_int_eq(pthread_mutex_unlock(&to->lock), 0);
    return status;
}

enum status control_port_resolve(const struct address *address,
                                 char out[VIEW_ADDRESS_BYTES_MAX + 1], char *wrong,
                                 size_t wrong_bytes)
{
    char text[ADDRESS_TEXT_BYTES_MAX];
    address_format(address, text);
    (void)snprintf(out, VIEW_ADDRESS_BYTES_MAX + 1, "%.*s", VIEW_ADDRESS_BYTES_MAX, text);
    (void)snprintf(wrong, wrong_bytes, "no such name");
    return strcmp(address->host, "nowhere") == 0 ? STATUS_NOT_FOUND : STATUS_OK;
}

enum status control_port_write_node(struct control_port *to, const struct edit_node *edit,
                                    struct config_error *error)
{
    (void)snprintf(to->written, sizeof(to->written), "%s/%s=%s", edit->pool, edit->name,
                   edit->address == NULL ? "" : edit->address);
    (void)snprintf(error->message, sizeof(error->message), "read-only");
    return to->write_status;
}

size_t control_port_events(struct control_port *from, uint64_t number, struct port_event *out,
                           size_t capacity)
{
    size_t count = 0;
    ck_assert_int_eq(pthread_mutex_lock(&from->lock), 0);
    for (size_t i = 0; i < from->event_count && count < capacity; i++) {
        if (from->events[i].sequence >= number) {
            out[count++] = from->events[i];
        }
    }
    ck_assert_int_eq(pthread_mutex_unlock(&from->lock), 0);
    return count;
}

uint64_t control_port_events_next(struct control_port *from)
{
    ck_assert_int_eq(pthread_mutex_lock(&from->lock), 0);
    const uint64_t next = from->first_event + from->event_count;
    ck_assert_int_eq(pthread_mutex_unlock(&from->lock), 0);
    return next;
}

enum port_await control_port_await_event(struct control_port *from, uint64_t number,
                                         uint32_t timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    int waited = 0;
    ck_assert_int_eq(pthread_mutex_lock(&from->lock), 0);
    from->awaited = number;
    ck_assert_int_eq(pthread_cond_broadcast(&from->moved), 0);
    while (!from->is_closed && number >= from->first_event + from->event_count && waited == 0) {
        waited = pthread_cond_timedwait(&from->moved, &from->lock, &until);
    }
    const enum port_await outcome = from->is_closed ? PORT_AWAIT_CLOSED
                                    : waited == 0   ? PORT_AWAIT_THERE
                                                    : PORT_AWAIT_TIMEOUT;
    ck_assert_int_eq(pthread_mutex_unlock(&from->lock), 0);
    return outcome;
}

void control_port_close_events(struct control_port *from)
{
    ck_assert_int_eq(pthread_mutex_lock(&from->lock), 0);
    from->is_closed = true;
    ck_assert_int_eq(pthread_cond_broadcast(&from->moved), 0);
    ck_assert_int_eq(pthread_mutex_unlock(&from->lock), 0);
}

static inline void happen(const struct trace_event *trace)
{
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    struct port_event *event = &port.events[port.event_count];
    event->sequence = port.first_event + port.event_count;
    event->wall_us = (uint64_t)BASE_S * 1000000;
    event->trace = *trace;
    (void)snprintf(event->pool_name, sizeof(event->pool_name), "main");
    port.event_count++;
    ck_assert_int_eq(pthread_cond_broadcast(&port.moved), 0);
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
}

enum status control_port_task_add(struct control_port *to, struct task *task)
{
    if (to->task_count == sizeof(to->tasks) / sizeof(to->tasks[0])) {
        return STATUS_FULL;
    }
    task->id = to->task_count + 1;
    task->left_us = UINT64_MAX;
    to->tasks[to->task_count++] = *task;
    return STATUS_OK;
}

bool control_port_task_find(struct control_port *from, uint64_t id, struct task *out)
{
    if (id == 0 || id > from->task_count) {
        return false;
    }
    *out = from->tasks[id - 1];
    return true;
}

size_t control_port_task_list(struct control_port *from, struct task *out, size_t capacity)
{
    ck_assert_uint_ge(capacity, from->task_count);
    memcpy(out, from->tasks, from->task_count * sizeof(*out));
    return from->task_count;
}

void control_port_task_update(struct control_port *to, const struct task *task)
{
    to->tasks[task->id - 1] = *task;
}

bool control_port_task_cancel(struct control_port *in, uint64_t id, struct task *out)
{
    if (!control_port_task_find(in, id, out)) {
        return false;
    }
    out->is_cancel_asked = out->kind == TASK_VERIFY;
    return true;
}

/* --- fixtures --- */

static inline struct proxy_pool *the_pool(void)
{
    return &port.snapshot->pools[0];
}

/* A proxy in its first second: nothing known, nothing counted. */
static inline void make_starting(void)
{
    static const char *const NAMES[NODES] = {"a", "127.0.0.1:11212", "<script>\"&\\"};
    port.snapshot_bytes = sizeof(struct proxy_snapshot) + sizeof(struct proxy_pool);
    port.snapshot = calloc(1, port.snapshot_bytes);
    ck_assert_ptr_nonnull(port.snapshot);
    struct proxy_snapshot *s = port.snapshot;
    config.threads_count = 2;
    *s = (struct proxy_snapshot){.version = "0.1.0",
                                 .config = &config,
                                 .state = PROXY_STARTING,
                                 .pid = 4711,
                                 .started_wall_us = (uint64_t)BASE_S * 1000000,
                                 .now_wall_us = (uint64_t)(BASE_S + 100) * 1000000,
                                 .now_mono_us = 200000000,
                                 .uptime_us = 100000000,
                                 .clients_max = 10000,
                                 .pool_count = 1};
    struct proxy_pool *pool = the_pool();
    pool->name = "main";
    pool->config = &config.pools[0];
    pool->request_timeout_us = 1500000;
    pool->node_count = NODES;
    pool->control.node_count = NODES;
    pool->control.members = node_set_all(NODES);
    pool->control.proxy_id = VIEW_NO_PROXY;
    for (size_t i = 0; i < NODES; i++) {
        pool->nodes[i] = (struct proxy_node){
            .name = NAMES[i], .address = "127.0.0.1:11211", .zone = "", .weight = 1};
        pool->control.nodes[i].data = NODE_DATA_OUT;
        pool->control.nodes[i].filler = VIEW_NO_PROXY;
    }
}

/* a serves, b is down, c is filled by us and has come to 29 %. */
static inline void make_running(void)
{
    struct proxy_pool *pool = the_pool();
    port.snapshot->state = PROXY_RUNNING;
    pool->is_readable = true;
    pool->nodes[0].zone = "z1";
    pool->nodes[0].address[strlen("127.0.0.1:1121")] = '2';
    pool->control.state = CONTROL_SERVING;
    pool->control.epoch = 17;
    struct control_node_snapshot *a = &pool->control.nodes[0];
    a->oper = NODE_OPER_UP;
    a->data = NODE_DATA_COMPLETE;
    a->admin_since_us = 100000000;
    a->oper_since_us = 101000000;
    a->transitions_1h = 1;
    a->is_check_ok = true;
    a->check_us = 280;
    a->check_at_us = 199000000;
    (void)snprintf(a->check_text, sizeof(a->check_text), "VERSION 1.6.18\n\xff");
    struct dataplane_node_stats *traffic = &pool->traffic.nodes[0];
    traffic->requests = 91233;
    traffic->connect_failures = 1;
    traffic->connects = 5;
    traffic->is_open = true;
    traffic->in_flight = 3;
    histogram_record(&traffic->latency, 100);
    histogram_record(&traffic->latency, 704);
    struct control_node_snapshot *c = &pool->control.nodes[2];
    c->oper = NODE_OPER_UP;
    c->data = NODE_DATA_FILLING;
    c->data_since_us = 150000000;
    c->hold_down_until_us = 203500000;
    c->is_filled_by_us = true;
    c->fill = (struct fill_progress){
        .items_done = 52310, .items_total = 180000, .bytes_done = 77, .eta_us = 40100000};
    pool->traffic.commands[MC_GET][DATAPLANE_OUTCOME_HIT] = 5;
    histogram_record(&pool->traffic.latency[MC_GET], 40);
}

/* A path that a route answers: node "a", task 1, which is under way. */
static inline void fill_path(const char *pattern, char out[64])
{
    const char *hole = strchr(pattern, '{');
    const int head = hole == NULL ? (int)strlen(pattern) : (int)(hole - pattern);
    const char *word = hole == NULL                      ? ""
                       : strncmp(hole, "{id}", 4) == 0   ? "1"
                       : strncmp(hole, "{file}", 6) == 0 ? "main.js"
                                                         : "a";
    (void)snprintf(out, 64, "%.*s%s%s", head, pattern, word,
                   hole == NULL ? "" : strchr(hole, '}') + 1);
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    port.tasks[0] = (struct task){.id = 1,
                                  .kind = TASK_VERIFY,
                                  .node = TASK_NO_NODE,
                                  .asked_us = 150000000,
                                  .left_us = UINT64_MAX};
    port.task_count = 1;
    port.is_closed = true; /* streams end at once */
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
    if (strcmp(pattern, "/v1/route") == 0) {
        (void)snprintf(out, 64, "/v1/route?key=k");
    }
}

static inline void start_admin_with(const struct admin_options *options)
{
    char error[256] = "";
    ck_assert_msg(admin_start(options, &port, &admin, error, sizeof(error)) == STATUS_OK, "%s",
                  error);
    const char *colon = strrchr(admin_url(admin), ':');
    admin_port = (uint16_t)strtoul(colon + 1, NULL, 10);
    ck_assert_uint_ne(admin_port, 0);
}

static inline void start_admin(const char *path)
{
    start_admin_with(&(struct admin_options){.listen = "127.0.0.1:0", .socket = path});
}

static inline void set_up_starting(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pthread_mutex_init(&port.lock, NULL), 0);
    ck_assert_int_eq(pthread_cond_init(&port.moved, NULL), 0);
    port.first_event = 1;
    port.event_count = 0;
    port.task_count = 0;
    port.awaited = 0;
    port.is_closed = false;
    port.status = STATUS_OK;
    port.result = CONTROL_RESULT_OK;
    make_starting();
    start_admin(NULL);
}

static inline void set_up(void)
{
    set_up_starting();
    make_running();
}

static inline void tear_down(void)
{
    admin_stop(&admin);
    ck_assert_ptr_null(admin);
    free(port.snapshot);
}

/* --- a client that sends what it is told --- */

static inline int connect_to(const struct sockaddr *address, socklen_t bytes)
{
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    const struct timeval deadline = {.tv_sec = DEADLINE_S};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline)), 0);
    ck_assert_msg(connect(fd, address, bytes) == 0, "connect: %s", strerror(errno));
    return fd;
}

static inline int connect_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(admin_port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect_to((const struct sockaddr *)&address, sizeof(address));
}

struct answer {
    int status;
    char *text; /* head and body */
    const char *body;
};

static inline void answer_free(struct answer *answer)
{
    free(answer->text);
}

/* Read until the other side closes, which is part of what is tested. */
static inline struct answer read_answer(int fd)
{
    struct answer answer = {.text = malloc(ANSWER_BYTES_MAX)};
    ck_assert_ptr_nonnull(answer.text);
    size_t used = 0;
    ssize_t got = 0;
    while ((got = recv(fd, answer.text + used, ANSWER_BYTES_MAX - 1 - used, 0)) > 0) {
        used += (size_t)got;
        ck_assert_uint_lt(used, ANSWER_BYTES_MAX - 1);
    }
    ck_assert_msg(got == 0 || errno == ECONNRESET, "not closed: %s", strerror(errno));
    answer.text[used] = '\0';
    ck_assert_int_eq(close(fd), 0);
    if (sscanf(answer.text, "HTTP/1.%*c %d", &answer.status) != 1) {
        answer.status = 0;
    }
    const char *end = strstr(answer.text, "\r\n\r\n");
    answer.body = end == NULL ? "" : end + 4;
    return answer;
}

/* A refused client's bytes may meet a closed connection: not an error of the client. */
static inline void send_all(int fd, const char *bytes, size_t len)
{
    size_t sent = 0;
    while (sent < len) {
        const ssize_t put = send(fd, bytes + sent, len - sent, MSG_NOSIGNAL);
        if (put <= 0) {
            return;
        }
        sent += (size_t)put;
    }
}

static inline struct answer ask_raw(const char *bytes)
{
    const int fd = connect_tcp();
    send_all(fd, bytes, strlen(bytes));
    return read_answer(fd);
}

/* METHOD and PATH, more header lines (each with its end) and a body. */
static inline struct answer ask_with(const char *method, const char *path, const char *headers,
                                     const char *body)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    ck_assert_ptr_nonnull(out);
    (void)fprintf(out, "%s %s HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n%s", method,
                  path, headers);
    if (body != NULL) {
        (void)fprintf(out, "Content-Length: %zu\r\n", strlen(body));
    }
    (void)fprintf(out, "\r\n%s", body == NULL ? "" : body);
    ck_assert_int_eq(fclose(out), 0);
    struct answer answer = ask_raw(text);
    free(text);
    return answer;
}

/* With a body where there is no success without one. */
static inline struct answer ask_route(const struct route *route, const char *path,
                                      const char *headers)
{
    const bool needs_body = route->body != NULL && strcmp(route->body, "NewNode") == 0;
    char all[256];
    (void)snprintf(all, sizeof(all), "%s%s", headers,
                   needs_body ? "Content-Type: application/json\r\n" : "");
    return ask_with(route->method, path, all,
                    needs_body ? "{\"name\":\"n\",\"address\":\"host\"}" : NULL);
}

static inline struct answer ask(const char *method, const char *path)
{
    return ask_with(method, path, "", NULL);
}

static inline json_t *ask_json(const char *method, const char *path, int status)
{
    struct answer answer = ask(method, path);
    ck_assert_msg(answer.status == status, "%s %s: %s", method, path, answer.text);
    json_t *json = json_loads(answer.body, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_msg(json_is_object(json), "%s %s: %s", method, path, answer.body);
    answer_free(&answer);
    return json;
}

static inline const char *text_of(const json_t *json, const char *member)
{
    const char *text = json_string_value(json_object_get(json, member));
    ck_assert_msg(text != NULL, "%s", member);
    return text;
}

/* A problem has its five members, and its status is the answer's. */
static inline json_t *check_problem(const struct answer *answer, int status, const char *type)
{
    ck_assert_msg(answer->status == status, "wanted %d: %s", status, answer->text);
    ck_assert_msg(strstr(answer->text, "Content-Type: application/problem+json\r\n") != NULL, "%s",
                  answer->text);
    json_t *json = json_loads(answer->body, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_msg(json_is_object(json), "%s", answer->body);
    ck_assert_uint_eq(json_object_size(json), 5);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "status")), status);
    ck_assert_str_eq(text_of(json, "type"), type);
    ck_assert_uint_gt(strlen(text_of(json, "title")), 0);
    ck_assert_uint_gt(strlen(text_of(json, "detail")), 0);
    ck_assert_uint_gt(strlen(text_of(json, "fix")), 0);
    return json;
}

static inline void expect_problem(struct answer answer, int status, const char *type)
{
    json_decref(check_problem(&answer, status, type));
    answer_free(&answer);
}

static inline void expect_status(struct answer answer, int status)
{
    ck_assert_msg(answer.status == status, "wanted %d: %s", status, answer.text);
    answer_free(&answer);
}

#endif
