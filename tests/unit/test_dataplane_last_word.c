/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whoever writes when all others have been answered has the last word, whatever is still under way
 * of writes that ended in an error: clients storm one key while nodes freeze and refuse items, and
 * connections end in every way, some of them executed afterwards; then one more client writes. If
 * it is told that this was done, that is what all complete nodes have when all is calm.
 *
 *   test_dataplane_last_word [first seed] [seeds]
 */
#include "dataplane_bench.h"

#include "everwarm/base/prng.h"

enum {
    SEEDS = 60,
    CONNS = 64,
    WRITER = CLIENTS - 1, /* has the last word */
    SIDE_BYTES = 500,
    LARGE_BYTES = 1000,
    VIEWS_MAX = 11,
    OUT_BYTES = 4096,
    PIPELINE = 4,
};

/* What was sent on one connection and is not executed. */
struct conn {
    bool is_used;
    bool is_current; /* of its link; else it is given up, or broken */
    bool is_told;    /* NODE_ENDED belongs to it */
    uint32_t place;
    size_t len;
    char in[1 << 15];
};

struct model {
    bool is_there;
    char value[LARGE_BYTES + 1];
    uint64_t cas;
    uint64_t frozen_until_us;
};

static struct {
    struct prng prng;
    struct conn conns[CONNS];
    struct model nodes[NODES];
    uint32_t given_up_seen[LINKS];
    uint32_t asked[CLIENTS];
    uint32_t answered[CLIENTS];
    const char *key;
    const char *coded; /* the same in base64 */
    node_set complete;
    node_set missed;
    const struct topology *next;
    bool is_drained;
    bool is_calm;
    bool is_last; /* the last word is being said: the lease holds, nothing is refused */
    bool is_done;
    bool is_failed;
    bool has_large;
    bool has_lapses;
    unsigned slowness; /* of control */
    uint32_t views;
    uint32_t number;
} w;

static unsigned below(unsigned n)
{
    return (unsigned)prng_below(&w.prng, n);
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

static uint32_t node_at(uint32_t place)
{
    return place % NODES;
}

/* --- Connections --- */

static struct conn *current(uint32_t place)
{
    for (uint32_t i = 0; i < CONNS; i++) {
        if (w.conns[i].is_used && w.conns[i].is_current && w.conns[i].place == place) {
            return &w.conns[i];
        }
    }
    return NULL;
}

static void open_conn(uint32_t place)
{
    uint32_t i = 0;
    while (i < CONNS && w.conns[i].is_used) {
        i++;
    }
    ck_assert_uint_lt(i, CONNS);
    w.conns[i] = (struct conn){.is_used = true, .is_current = true, .place = place};
}

static void tell_ended(uint32_t place, enum wire_end end)
{
    b.given_up[place]--;
    w.given_up_seen[place]--;
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_ENDED, .link = link_of(place), .end = end});
}

/* What was sent belongs to the connections that were there. */
static void take_sent(void)
{
    for (uint32_t place = 0; place < LINKS; place++) {
        struct conn *conn = current(place);
        size_t bytes = b.to_node_bytes[place];
        b.to_node_bytes[place] = 0;
        if (conn != NULL) {
            ck_assert_uint_lt(conn->len + bytes, sizeof(conn->in));
            memcpy(conn->in + conn->len, b.to_node[place], bytes);
            conn->len += bytes;
        }
        while (b.given_up[place] > w.given_up_seen[place]) {
            w.given_up_seen[place]++;
            if (conn == NULL) {
                tell_ended(place, WIRE_END_EOF); /* it was not even begun */
            } else {
                conn->is_current = false;
                conn->is_told = true;
                conn = NULL;
            }
        }
    }
}

static void happen(const struct dataplane_event *event)
{
    step(event);
    take_sent();
}

/* --- Nodes --- */

static void store(struct model *model, const char *value, size_t len, char *out)
{
    bool is_refused = !w.is_last && one_in(24);
    ck_assert_uint_lt(len, sizeof(model->value));
    model->is_there = !is_refused;
    memcpy(model->value, value, len);
    model->value[len] = 0;
    model->cas++;
    snprintf(out, OUT_BYTES,
             is_refused ? "SERVER_ERROR out of memory storing object\r\n" : "HD\r\n");
}

static void count(struct model *model, char *out)
{
    if (!model->is_there) {
        snprintf(out, OUT_BYTES, "NF\r\n");
        return;
    }
    unsigned long number = strtoul(model->value, NULL, 10) % 1000000 + 1;
    snprintf(model->value, sizeof(model->value), "%lu", number);
    model->cas++;
    snprintf(out, OUT_BYTES, "VA %zu\r\n%s\r\n", strlen(model->value), model->value);
}

/* Execute one command to the key, or of a greeting. Returns false: there is none. */
static bool execute(struct model *model, struct conn *conn, char *out)
{
    const char *end = memchr(conn->in, '\n', conn->len);
    if (end == NULL) {
        return false;
    }
    size_t bytes = (size_t)(end - conn->in) + 1;
    char line[256];
    ck_assert_uint_lt(bytes, sizeof(line));
    memcpy(line, conn->in, bytes);
    line[bytes - 2] = 0;
    const char *yes = "HD\r\n";
    const char *no = "NF\r\n";
    snprintf(out, OUT_BYTES, "EN\r\n");
    if (line[0] == 's') {
        snprintf(out, OUT_BYTES,
                 "STAT pid %u\r\nSTAT uptime 10\r\nSTAT time 1010\r\nSTAT cmd_flush 0\r\nEND\r\n",
                 100 + node_at(conn->place));
    } else if (line[1] == 's') {
        const char *len_text = strchr(line + 3, ' ');
        size_t len = strtoul(len_text, NULL, 10);
        if (conn->len < bytes + len + 2) {
            return false;
        }
        store(model, conn->in + bytes, len, out);
        bytes += len + 2;
    } else if (line[1] == 'd') {
        snprintf(out, OUT_BYTES, "%s", model->is_there ? yes : no);
        model->is_there = false;
    } else if (line[1] == 'o') {
        snprintf(out, OUT_BYTES, "%s", model->is_there ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
    } else if (line[1] == 'a') {
        count(model, out);
    } else if (strstr(line, " v f t c u") != NULL && model->is_there) {
        snprintf(out, OUT_BYTES, "VA %zu f0 t-1 c%lu\r\n%s\r\n", strlen(model->value),
                 (unsigned long)model->cas, model->value);
    }
    conn->len -= bytes;
    memmove(conn->in, conn->in + bytes, conn->len);
    return true;
}

static const enum wire_end ends[] = {WIRE_END_RESET, WIRE_END_TIMEOUT, WIRE_END_UNREACHABLE,
                                     WIRE_END_EOF};

/* It breaks, or ends otherwise than by EOF: what was sent on it is executed, and soon. */
static void break_some(struct conn *conn)
{
    bool is_open = b.dp->links[link_of(conn->place)].state == LINK_OPEN;
    if (conn->is_current && is_open && one_in(250)) {
        enum wire_end end = ends[below(4)];
        conn->is_current = false;
        conn->is_used = end != WIRE_END_EOF;
        happen(&(struct dataplane_event){
            .type = DATAPLANE_NODE_CLOSED, .link = link_of(conn->place), .end = end});
    } else if (conn->is_told && one_in(40)) {
        conn->is_told = false;
        tell_ended(conn->place, ends[below(3)]);
        take_sent();
    }
}

static void execute_some(struct conn *conn)
{
    static char out[OUT_BYTES];
    struct model *model = &w.nodes[node_at(conn->place)];
    for (unsigned i = w.is_calm ? 100 : below(4); i > 0 && execute(model, conn, out); i--) {
        if (conn->is_current) {
            node(conn->place, out);
            take_sent();
        }
    }
    if (!conn->is_current && memchr(conn->in, '\n', conn->len) == NULL) {
        conn->is_used = false;
        if (conn->is_told) {
            tell_ended(conn->place, WIRE_END_EOF);
            take_sent();
        }
    }
}

static void nodes_turn(void)
{
    for (uint32_t place = 0; place < LINKS; place++) {
        if (b.is_connecting[place] && (w.is_calm || one_in(2))) {
            b.is_connecting[place] = false;
            open_conn(place);
            happen(&(struct dataplane_event){.type = DATAPLANE_NODE_OPEN, .link = link_of(place)});
        }
    }
    for (uint32_t n = 0; n < NODES; n++) {
        struct model *model = &w.nodes[n];
        if (!w.is_calm && model->frozen_until_us <= b.now_us && one_in(60)) {
            model->frozen_until_us = b.now_us + below(1600 * 1000);
        }
    }
    uint32_t first = below(CONNS);
    for (uint32_t i = 0; i < CONNS; i++) {
        struct conn *conn = &w.conns[(first + i) % CONNS];
        if (conn->is_used && !w.is_calm) {
            break_some(conn);
        }
        if (conn->is_used && w.nodes[node_at(conn->place)].frozen_until_us <= b.now_us) {
            execute_some(conn);
        }
    }
}

/* --- Control --- */

static void propose(node_set complete)
{
    w.next = topology(complete, 0);
    w.is_drained = false;
    w.views++;
    hold_view(w.next);
    take_sent();
}

/* A node that becomes complete is given what the other has. */
static void take_effect(void)
{
    const struct topology *t = w.next;
    for (uint32_t n = 0; n < NODES; n++) {
        if ((t->complete & ~w.complete & node_set_of(n)) != 0) {
            w.nodes[n] = w.nodes[1 - n];
            w.nodes[n].cas += 1000;
        }
    }
    w.complete = t->complete;
    w.next = NULL;
    adopt_view(t);
    take_sent();
}

static bool may_enter(uint32_t n)
{
    bool is_free = w.nodes[n].frozen_until_us <= b.now_us;
    for (uint32_t i = 0; i < CONNS; i++) {
        const struct conn *conn = &w.conns[i];
        is_free = is_free && (!conn->is_used || conn->is_current || node_at(conn->place) != n);
    }
    return is_free;
}

static void control_turn(void)
{
    const node_set both = 3;
    for (size_t i = 0; i < b.report_count; i++) {
        const struct control_report *report = &b.reports[i];
        w.missed |= report->type == CONTROL_REPORT_MISSED ? node_set_of(report->node) : 0;
        w.is_drained = w.is_drained || (report->type == CONTROL_REPORT_DRAINED && w.next != NULL &&
                                        report->serial == w.next->serial);
    }
    b.report_count = 0;
    if (w.next != NULL && w.is_drained) {
        if (w.is_calm || one_in(w.slowness)) {
            take_effect();
        }
    } else if (w.views < VIEWS_MAX) {
        bool is_lost = w.missed != 0 && w.missed != both && one_in(6);
        if (w.next == NULL && w.complete == both && is_lost) {
            propose(both & ~w.missed);
        } else if (w.next == NULL && w.complete != both &&
                   may_enter(node_set_first(both & ~w.complete)) && one_in(20)) {
            propose(both);
        } else if (w.next != NULL && w.complete != both && is_lost) {
            propose(w.complete); /* it does not enter after all */
        }
    }
    w.missed = 0;
}

/* --- Clients --- */

static void take_answers(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++) {
        size_t bytes = b.to_client_bytes[i];
        b.to_client[i][bytes] = 0;
        for (size_t at = 0; at < bytes; at++) {
            w.answered[i] += b.to_client[i][at] == '\n';
        }
        if (i == WRITER && (bytes > 0 || b.is_closed[i])) {
            w.is_failed = b.is_closed[i] || strstr(b.to_client[i], "ERROR") != NULL;
            w.is_done = !w.is_failed;
        }
        b.to_client_bytes[i] = 0;
        if (b.is_closed[i]) {
            b.is_closed[i] = false;
            w.asked[i] = w.answered[i] = 0;
            happen(&(struct dataplane_event){.type = DATAPLANE_CLIENT_OPEN, .client = i});
        }
    }
}

static const char *any_write(void)
{
    static char large[LARGE_BYTES + 1];
    static char request[LARGE_BYTES + 64];
    memset(large, '7', LARGE_BYTES);
    uint32_t number = w.number = (w.number + 1) % 10000;
    switch (below(w.has_large ? 8 : 7)) {
    case 0:
        return FORMAT("ms %s 4 b\r\n%04u\r\n", w.coded, number);
    case 1:
        return FORMAT("delete %s\r\n", w.key);
    case 2:
        return FORMAT("touch %s 100\r\n", w.key);
    case 3:
        return FORMAT("incr %s 1\r\n", w.key);
    case 7:
        snprintf(request, sizeof(request), "set %s 0 0 %d\r\n%s\r\n", w.key, LARGE_BYTES, large);
        return request;
    default:
        return FORMAT("set %s 0 0 4\r\n%04u\r\n", w.key, number);
    }
}

static void clients_turn(void)
{
    for (uint32_t i = 0; i < WRITER; i++) {
        while (one_in(8) && w.asked[i] - w.answered[i] < PIPELINE) {
            w.asked[i]++;
            client(i, any_write());
            take_sent();
        }
        if (one_in(300)) {
            w.asked[i] = w.answered[i] = 0;
            happen(&(struct dataplane_event){.type = DATAPLANE_CLIENT_LOST, .client = i});
            b.to_client_bytes[i] = 0;
            happen(&(struct dataplane_event){.type = DATAPLANE_CLIENT_OPEN, .client = i});
        }
    }
}

/* --- A run --- */

static void turn(void)
{
    pass((1 + below(20)) * 1000);
    take_sent();
    if (b.lease_until_us != UINT64_MAX && one_in(15)) {
        b.lease_until_us = UINT64_MAX;
    } else if (w.has_lapses && !w.is_last && one_in(200)) {
        b.lease_until_us = b.now_us - 1;
    }
    take_answers();
    nodes_turn();
    control_turn();
    take_answers();
}

static bool is_any_waiting(void)
{
    bool is_any = false;
    for (uint32_t i = 0; i < WRITER; i++) {
        is_any = is_any || w.asked[i] != w.answered[i];
    }
    return is_any;
}

static void begin(uint32_t seed)
{
    static const char *const coded[] = {
        "azA=", "azE=", "azI=", "azM=", "azQ=", "azU=", "azY=", "azc="};
    memset(&w, 0, sizeof(w));
    w.prng.state = prng_mix(seed + 1);
    w.complete = 3;
    w.has_large = one_in(2);
    w.has_lapses = one_in(2);
    w.slowness = one_in(2) ? 1 : 60;
    unusual.side_bytes = w.has_large ? SIDE_BYTES : 0;
    restart(MEMORY_BYTES);
    open_conn(0);
    open_conn(1);
    w.key = key_of(below(2));
    w.coded = coded[w.key[1] - '0'];
}

START_TEST(test_last_word)
{
    begin((uint32_t)_i);
    for (uint64_t until_us = b.now_us + (2000 + below(4000)) * 1000; b.now_us < until_us;) {
        turn();
        clients_turn();
    }
    for (unsigned i = 0; i < 2000 && is_any_waiting(); i++) {
        turn();
    }
    ck_assert(!is_any_waiting());
    w.is_last = true;
    b.lease_until_us = UINT64_MAX;
    turn();
    bool is_delete = one_in(4);
    const char *last = one_in(3) ? FORMAT("ms %s 4 b\r\nlast\r\n", w.coded)
                                 : FORMAT("set %s 0 0 4\r\nlast\r\n", w.key);
    client(WRITER, is_delete ? FORMAT("delete %s\r\n", w.key) : last);
    take_sent();
    for (unsigned i = 0; i < 1000 && !w.is_done && !w.is_failed; i++) {
        turn();
    }
    ck_assert(w.is_done || w.is_failed);
    w.is_calm = true;
    for (uint32_t n = 0; n < NODES; n++) {
        w.nodes[n].frozen_until_us = 0;
    }
    for (unsigned i = 0; i < 600; i++) {
        turn();
    }
    for (uint32_t n = 0; n < NODES; n++) {
        if (w.is_done && (w.complete & node_set_of(n)) != 0) {
            ck_assert_int_eq(w.nodes[n].is_there, !is_delete);
            ck_assert_str_eq(is_delete ? "last" : w.nodes[n].value, "last");
        }
    }
    ck_assert_uint_eq(b.dp->inflight_count, 0);
    ck_assert_uint_eq(b.dp->invalidations, 0);
}
END_TEST

static void fini(void)
{
    free(b.memory);
}

int main(int argc, char **argv)
{
    int first = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1;
    int seeds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : SEEDS;
    TCase *tcase = tcase_create("last word");
    tcase_add_checked_fixture(tcase, setup, fini);
    tcase_add_loop_test(tcase, test_last_word, first, first + seeds);
    Suite *suite = suite_create("dataplane, the last word");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
