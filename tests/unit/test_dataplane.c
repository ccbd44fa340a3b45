/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of requests, of lost nodes and of changes of view, byte by byte. */
#include "dataplane_bench.h"

START_TEST(test_get)
{
    const char *k = key_of(1);
    client(0, FORMAT("get %s\r\n", k));
    expect_node(0, "");
    expect_node(1, FORMAT("get %s\r\n", k));
    node(1, FORMAT("VALUE %s 7 3\r\nabc\r\nEND\r\n", k));
    expect_client(0, FORMAT("VALUE %s 7 3\r\nabc\r\nEND\r\n", k));
    client(0, FORMAT("get %s\r\n", k));
    node(1, "END\r\n");
    expect_client(0, "END\r\n");
}
END_TEST

START_TEST(test_set_goes_to_all)
{
    client(0, "set k 5 60 3\r\nabc\r\n");
    expect_node(0, "ms k 3 T60 F5\r\nabc\r\n");
    expect_node(1, "ms k 3 T60 F5\r\nabc\r\n");
    node(0, "HD\r\n");
    expect_client(0, "");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    client(0, "set k 0 0 1 noreply\r\nx\r\ndelete k\r\n");
    expect_node(0, "ms k 1\r\nx\r\nmd k\r\n");
    node(0, "HD\r\nHD\r\n");
    node(1, "HD\r\nHD\r\n");
    expect_client(0, "DELETED\r\n");
}
END_TEST

START_TEST(test_every_cut)
{
    const char *k = key_of(0);
    char request[200];
    char reply[200];
    snprintf(request, sizeof(request), "set x 0 0 4\r\nab\r\n\r\nget %s\r\n", k);
    snprintf(reply, sizeof(reply), "HD\r\nVALUE %s 0 4\r\nEND\r\r\nEND\r\n", k);
    for (size_t cut = 0; cut <= strlen(request); cut++) {
        for (size_t back = 0; back <= strlen(reply); back++) {
            char first[200] = {0};
            memcpy(first, request, cut);
            client(1, first);
            client(1, request + cut);
            expect_node(0, FORMAT("ms x 4\r\nab\r\n\r\nget %s\r\n", k));
            expect_node(1, "ms x 4\r\nab\r\n\r\n");
            memset(first, 0, sizeof(first));
            memcpy(first, reply, back);
            node(0, first);
            node(0, reply + back);
            node(1, "HD\r\n");
            expect_client(1, FORMAT("STORED\r\nVALUE %s 0 4\r\nEND\r\r\nEND\r\n", k));
        }
    }
}
END_TEST

START_TEST(test_decided)
{
    const char *k = key_of(0);
    client(0, FORMAT("add %s 1 0 1\r\nv\r\n", k));
    expect_node(0, FORMAT("ms %s 1 ME F1\r\nv\r\n", k));
    expect_node(1, "");
    client(1, FORMAT("set %s 0 0 1\r\nw\r\n", k)); /* waits for the add */
    expect_node(0, "");
    node(0, "HD\r\n");
    expect_node(1, FORMAT("ms %s 1 F1\r\nv\r\n", k));
    expect_client(0, "");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    expect_node(0, FORMAT("ms %s 1\r\nw\r\n", k));
    expect_node(1, FORMAT("ms %s 1\r\nw\r\n", k));
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(1, "STORED\r\n");
    client(0, FORMAT("add %s 1 0 1\r\nv\r\n", k));
    node(0, "NS\r\n");
    expect_client(0, "NOT_STORED\r\n");
}
END_TEST

START_TEST(test_incr)
{
    const char *k = key_of(1);
    client(0, FORMAT("incr %s 5\r\n", k));
    expect_node(1, FORMAT("ma %s MI D5 v\r\nmg %s v f t c u\r\n", k, k));
    node(1, "VA 2\r\n15\r\nVA 2 f3 t100 c5\r\n15\r\n");
    expect_node(0, FORMAT("ms %s 2 F3 T100\r\n15\r\n", k));
    node(0, "HD\r\n");
    expect_client(0, "15\r\n");
    client(0, FORMAT("incr %s 5\r\n", k));
    node(1, "NF\r\nEN\r\n");
    expect_client(0, "NOT_FOUND\r\n");
    client(0, FORMAT("incr %s 5\r\n", k));
    node(1,
         "CLIENT_ERROR cannot increment or decrement non-numeric value\r\nVA 1 f0 t-1 c5\r\na\r\n");
    expect_client(0, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
}
END_TEST

START_TEST(test_multiget_keeps_order)
{
    const char *x = key_of(0);
    const char *y = key_of(1);
    client(0, FORMAT("get %s %s nix %s\r\nget %s\r\n", y, x, y, x));
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    bool is_nix_0 = topology_leader(&b.topology[1], topology_hash(SLICE("nix"))) == 0;
    (void)is_nix_0;
    node(1, FORMAT("VALUE %s 0 1\r\ny\r\nVALUE %s 0 1\r\ny\r\nEND\r\n", y, y));
    expect_client(0, "");
    node(0, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\nEND\r\n", x));
    expect_client(0, FORMAT("VALUE %s 0 1\r\ny\r\nVALUE %s 0 1\r\nx\r\nVALUE %s 0 1\r\ny\r\nEND\r\n"
                            "END\r\n",
                            y, x, y));
}
END_TEST

START_TEST(test_wrong_key_is_given_up)
{
    const char *k = key_of(0);
    client(0, FORMAT("get %s\r\n", k));
    node(0, "VALUE other 0 1\r\nx\r\nEND\r\n");
    ck_assert(b.is_given_up[0]);
    expect_client(0, "");
    expect_node(1, FORMAT("get %s\r\n", k));
    node(1, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", k));
    expect_client(0, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", k));
}
END_TEST

START_TEST(test_dead_leader)
{
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    client(1, FORMAT("get %s\r\n", k));
    node(1, "HD\r\n");
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = 0, .end = WIRE_END_EOF});
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    ck_assert(b.is_connecting[0]);
    b.is_connecting[0] = false;
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_CLOSED, .link = 0, .end = WIRE_END_REFUSED});
    const struct control_report *missed = last_report(CONTROL_REPORT_MISSED);
    ck_assert_ptr_nonnull(missed);
    ck_assert_uint_eq(missed->node, 0);
    /* The read went on at once, behind the write on the same connection. */
    node(1, FORMAT("VALUE %s 0 1\r\nv\r\nEND\r\n", k));
    expect_client(1, FORMAT("VALUE %s 0 1\r\nv\r\nEND\r\n", k));
    struct topology *t = topology(2, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    const struct control_report *drained = last_report(CONTROL_REPORT_DRAINED);
    ck_assert_ptr_nonnull(drained);
    ck_assert_uint_eq(drained->serial, t->serial);
    expect_client(0, "");
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_ADOPTED));
    /* The leader had not answered: the write is run again under the new one. */
    expect_node(1, FORMAT("ms %s 1\r\nv\r\n", k));
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

START_TEST(test_brought_home)
{
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    expect_node(1, FORMAT("ms %s 1\r\nv\r\n", k));
    node(0, "HD\r\n");
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = 1, .end = WIRE_END_EOF});
    greet(1, 101);
    b.to_node_bytes[0] = 0;
    expect_node(1, FORMAT("ms %s 1\r\nv\r\n", k));
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    ck_assert_ptr_null(last_report(CONTROL_REPORT_MISSED));
}
END_TEST

START_TEST(test_restart_is_no_home)
{
    client(0, "set k 0 0 1\r\nv\r\n");
    node(0, "HD\r\n");
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = 1, .end = WIRE_END_EOF});
    b.to_node_bytes[1] = 0;
    greet(1, 999);
    expect_node(1, "");
    const struct control_report *report = last_report(CONTROL_REPORT_IDENTITY);
    ck_assert_ptr_nonnull(report);
    ck_assert_uint_eq(report->node, 1);
    struct topology *t = topology(1, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    expect_client(0, "STORED\r\n");
}
END_TEST

START_TEST(test_chained_after_all_complete)
{
    struct topology *t = topology(1, 2);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    client(0, "set k 0 0 1\r\nv\r\n");
    expect_node(0, "ms k 1\r\nv\r\n");
    expect_node(1, "");
    node(0, "HD\r\n");
    expect_node(1, "ms k 1\r\nv\r\n");
    expect_client(0, "");
    client(1, "get k\r\n");
    expect_node(0, "get k\r\n"); /* a filling node serves no read (C8) */
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

START_TEST(test_frozen_node)
{
    client(0, "set k 0 0 1\r\nv\r\n");
    node(0, "HD\r\n");
    pass(740 * 1000);
    ck_assert(!b.is_given_up[1]);
    pass(20 * 1000);
    ck_assert(b.is_given_up[1]);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_GIVEN_UP));
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_MISSED));
    struct topology *t = topology(1, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    expect_client(0, "STORED\r\n");
    /* A view with the node in it is not joined before the old connection's end. */
    t = topology(1, 2);
    b.report_count = 0;
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    b.given_up[1]--;
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_ENDED, .link = 1, .end = WIRE_END_EOF});
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
}
END_TEST

START_TEST(test_deadline)
{
    struct topology *t = topology(3, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    client(0, "set k 0 0 1\r\nv\r\nget k\r\n");
    expect_node(0, "");
    pass(1499 * 1000);
    expect_client(0, "");
    pass(30 * 1000); /* deadlines are told apart by 1/200 of the timeout */
    expect_client(0, "SERVER_ERROR timed out\r\n");
    /* Nothing of the write was sent; what the client asked after it goes on. */
    uint32_t leader = topology_leader(&b.topology[1], topology_hash(SLICE("k")));
    expect_node(leader, "get k\r\n");
    expect_node(1 - leader, "");
}
END_TEST

/* The clock of deadlines stands still while nothing is in flight. */
/* A plain write and a decided one to the same key wait for the same dead leader: the older goes
 * first. */
START_TEST(test_rerun_in_order)
{
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 2 noreply\r\n63\r\ndecr %s 28\r\n", k, k));
    node(1, "HD\r\n");
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = 0, .end = WIRE_END_EOF});
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    struct topology *t = topology(2, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    expect_node(1, FORMAT("ms %s 2\r\n63\r\n", k));
    node(1, "HD\r\n");
    expect_node(1, FORMAT("ma %s MD D28 v\r\nmg %s v f t c u\r\n", k, k));
    node(1, "VA 2\r\n35\r\nVA 2 f0 t-1 c5\r\n35\r\n");
    expect_client(0, "35\r\n");
}
END_TEST

START_TEST(test_deadline_after_idling)
{
    const char *k = key_of(0);
    for (uint64_t idle_us = 1000; idle_us < 20 * 1000 * 1000; idle_us = idle_us * 3 / 2) {
        b.now_us += idle_us;
        client(0, FORMAT("get %s\r\n", k));
        pass(20 * 1000);
        pass(20 * 1000);
        expect_client(0, "");
        node(0, "END\r\n");
        expect_client(0, "END\r\n");
    }
    b.to_node_bytes[0] = 0;
}
END_TEST

START_TEST(test_lease)
{
    b.lease_until_us = b.now_us + 1000;
    client(0, "get k\r\n");
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    pass(2000);
    client(1, "set k 0 0 1\r\nv\r\n");
    expect_node(0, "");
    expect_node(1, "");
    node(0, "END\r\n");
    node(1, "END\r\n");
    expect_client(0, "");
}
END_TEST

START_TEST(test_errors_of_clients)
{
    client(0, "nonsense\r\nset k 0 0 3\r\nabcXYget k\r\n");
    node(0, "END\r\n");
    node(1, "END\r\n");
    expect_client(0, "ERROR\r\nCLIENT_ERROR bad data chunk\r\nEND\r\n");
}
END_TEST

START_TEST(test_item_error_of_replica)
{
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    b.to_node_bytes[1] = 0;
    node(0, "HD\r\n");
    node(1, "SERVER_ERROR out of memory storing object\r\n");
    expect_node(1, FORMAT("md %s\r\n", k));
    node(1, "NF\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

START_TEST(test_pipeline_limit)
{
    char many[300 * 7 + 1] = {0};
    for (int i = 0; i < 300; i++) {
        memcpy(many + i * 7, "get k\r\n", 7);
    }
    client(0, many);
    uint32_t leader = topology_leader(&b.topology[1], topology_hash(SLICE("k")));
    ck_assert_uint_eq(b.to_node_bytes[leader], 256 * 7);
    for (int i = 0; i < 300; i++) {
        node(leader, "END\r\n");
    }
    ck_assert_uint_eq(b.to_node_bytes[leader], 300 * 7);
    ck_assert_uint_eq(b.to_client_bytes[0], 300 * 5);
    b.to_client_bytes[0] = 0;
}
END_TEST

/* --- What neither clients nor nodes nor changes of view may do --- */

static void close_node(uint32_t n, enum wire_end end)
{
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = n, .end = end});
}

static void client_bytes(uint32_t slot, const char *bytes, size_t len, size_t piece)
{
    for (size_t at = 0; at < len; at += piece) {
        step(&(struct dataplane_event){
            .type = DATAPLANE_CLIENT_BYTES,
            .client = slot,
            .bytes = slice_of(bytes + at, len - at < piece ? len - at : piece)});
    }
}

/* COUNT keys of KEY_BYTES each. */
static char *get_line(const char *word, int count, int key_bytes)
{
    size_t room = strlen(word) + (size_t)count * ((size_t)key_bytes + 1) + 3;
    char *line = malloc(room);
    ck_assert_ptr_nonnull(line);
    size_t len = (size_t)snprintf(line, room, "%s", word);
    for (int i = 0; i < count; i++) {
        len += (size_t)snprintf(line + len, room - len, " %0*d", key_bytes, i);
    }
    snprintf(line + len, room - len, "\r\n");
    return line;
}

static void obey_until_idle(void)
{
    for (int i = 0; i < 10000 && !is_idle(); i++) {
        obey(0);
        obey(1);
    }
    ck_assert(is_idle());
}

/* Longer than what is laid out in one go, so that it is looked at in parts. */
START_TEST(test_long_line_in_pieces)
{
    char *line = get_line("get", 10000, 250);
    client_bytes(0, line, strlen(line), 65535);
    obey_until_idle();
    expect_client(0, "END\r\n");
    client_bytes(0, line, strlen(line), 1 << 18);
    obey_until_idle();
    expect_client(0, "END\r\n");
    free(line);
}
END_TEST

START_TEST(test_line_without_end)
{
    size_t len = MC_GET_LINE_BYTES_MAX + (1 << 19);
    char *line = malloc(len);
    ck_assert_ptr_nonnull(line);
    memset(line, 'k', len);
    memcpy(line, "get ", 4);
    client_bytes(0, line, len, 1 << 18);
    ck_assert(b.is_closed[0]);
    free(line);
}
END_TEST

/* A long line that comes in small pieces is not looked at as a whole for each of them. */
START_TEST(test_long_line_in_drops)
{
    size_t len = 1 << 20;
    char *line = malloc(len);
    ck_assert_ptr_nonnull(line);
    memset(line, ' ', len);
    memcpy(line, "get k", 5);
    client_bytes(0, line, len, 1 << 18);
    b.dp->scratch[0] = 'X'; /* where a line is laid out */
    for (int i = 0; i < 100; i++) {
        client(0, " l");
    }
    ck_assert_int_eq(b.dp->scratch[0], 'X');
    client(0, "\r\n");
    obey_until_idle();
    expect_client(0, "END\r\n");
    /* The bound holds all the same. */
    line[0] = 'g';
    client_bytes(0, line, len, 1 << 18);
    for (size_t sent = len; sent <= MC_GET_LINE_BYTES_MAX; sent += 1 << 19) {
        ck_assert(!b.is_closed[0]);
        client_bytes(0, line + 8, 1 << 19, 1 << 18);
    }
    ck_assert(b.is_closed[0]);
    free(line);
}
END_TEST

/* The longest line that may be, which ends exactly at the bound. */
START_TEST(test_longest_line)
{
    size_t len = MC_GET_LINE_BYTES_MAX + 1;
    char *line = malloc(len);
    ck_assert_ptr_nonnull(line);
    memset(line, ' ', len);
    memcpy(line, "get k l", 7);
    line[len - 1] = '\n';
    client_bytes(0, line, len, 1 << 18);
    obey_until_idle();
    expect_client(0, "END\r\n");
    free(line);
}
END_TEST

/* A multiget that does not fit beside what is held already is refused; nothing spins. */
START_TEST(test_multiget_without_memory)
{
    restart(5 << 20 | 512 << 10);
    char *line = get_line("get", 10000, 250);
    client(1, "set k 0 0 1000000\r\n");
    client_bytes(1, line, 900000, 1 << 16);
    client_bytes(0, line, strlen(line), 1 << 16);
    obey_until_idle();
    expect_client(0, "SERVER_ERROR out of memory reading request\r\n");
    step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_LOST, .client = 1});
    client_bytes(0, line, strlen(line), 1 << 16);
    for (int i = 0; i < 1000 && b.to_client_bytes[0] == 0; i++) {
        obey(0);
        obey(1);
        pass(1000);
    }
    expect_client(0, "END\r\n");
    free(line);
}
END_TEST

/* Clients that stop in the middle of their stores don't take the others with them. */
START_TEST(test_unfinished_stores_let_go)
{
    restart(3 << 20);
    char *value = calloc(1, 1 << 20);
    ck_assert_ptr_nonnull(value);
    for (uint32_t i = 0; i < CLIENTS - 1; i++) {
        client(i, "set k 0 0 1048570\r\n");
    }
    for (uint32_t i = 0; dataplane_client_room(b.dp) > 0; i = (i + 1) % (CLIENTS - 1)) {
        client_bytes(i, value, 8192, 8192);
    }
    for (int i = 0; i < 200 && dataplane_client_room(b.dp) == 0; i++) {
        pass(20 * 1000);
    }
    ck_assert_uint_gt(dataplane_client_room(b.dp), 0);
    client(CLIENTS - 1, "version\r\n");
    expect_client(CLIENTS - 1, "VERSION 1.6.38 everwarm/test\r\n");
    free(value);
}
END_TEST

/* A merge that runs out of memory in the middle of a value: one chunk is left, and the second block
 * needs two. */
START_TEST(test_merge_without_memory)
{
    enum { BIG = 260000 };
    restart(2 << 20);
    const char *x = key_of(0);
    const char *y = key_of(1);
    client(0, FORMAT("get %s %s %s %s\r\n", y, x, y, x));
    char *reply = malloc(2 * BIG + 200);
    ck_assert_ptr_nonnull(reply);
    memset(reply, 'v', 2 * BIG + 200);
    for (uint32_t n = 0; n < NODES; n++) {
        for (int block = 0; block < 2; block++) {
            char head[64];
            int len = snprintf(head, sizeof(head), "VALUE %s 0 %d\r\n", n == 0 ? x : y, BIG);
            memcpy(reply, head, (size_t)len);
            memcpy(reply + len + BIG, "\r\n", 2);
            step(&(struct dataplane_event){.type = DATAPLANE_NODE_BYTES,
                                           .link = n,
                                           .bytes = slice_of(reply, (size_t)len + BIG + 2)});
            memset(reply, 'v', BIG + 200);
        }
    }
    node(0, "END\r\n");
    client(1, "set k 0 0 1048570\r\n");
    while (b.dp->chunks.free_count > 1) {
        client_bytes(1, reply, 1024, 1024);
    }
    free(reply);
    node(1, "END\r\n");
    expect_client(0, "SERVER_ERROR out of memory reading the value\r\n");
}
END_TEST

/* One command, one reply, however many parts it went in. */
START_TEST(test_gat_many_fails_once)
{
    struct topology *t = topology(3, 0);
    hold_view(t);
    client(0, "gat 60 k0 k1 k2\r\nversion\r\n");
    pass(1510 * 1000); /* of all keys */
    expect_client(0, "SERVER_ERROR timed out\r\nVERSION 1.6.38 everwarm/test\r\n");
}
END_TEST

/* What was answered stays as it was answered. */
START_TEST(test_late_answer_changes_nothing)
{
    const char *k = key_of(0);
    struct topology *t = topology(3, 0);
    hold_view(t);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    pass(1000 * 1000);
    adopt_view(t);
    expect_node(0, FORMAT("ms %s 1\r\nv\r\n", k));
    b.is_stuck[0] = true;
    pass(510 * 1000); /* timed out, and not written */
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    b.is_stuck[0] = false;
    dataplane_client_writable(b.dp, 0);
    obey_until_idle();
    expect_client(0, "SERVER_ERROR timed out\r\n");
    client(0, "version\r\n");
    expect_client(0, "VERSION 1.6.38 everwarm/test\r\n");
}
END_TEST

START_TEST(test_late_number_changes_nothing)
{
    const char *k = key_of(0);
    struct topology *t = topology(3, 0);
    hold_view(t);
    client(0, FORMAT("incr %s 1\r\n", k));
    pass(1000 * 1000);
    adopt_view(t);
    b.is_stuck[0] = true;
    pass(510 * 1000);
    node(0, "VA 1\r\n7\r\nVA 1 f0 t-1 c5\r\n7\r\n");
    node(1, "HD\r\n");
    b.is_stuck[0] = false;
    dataplane_client_writable(b.dp, 0);
    obey_until_idle();
    expect_client(0, "SERVER_ERROR timed out\r\n");
    client(0, "version\r\n");
    expect_client(0, "VERSION 1.6.38 everwarm/test\r\n");
}
END_TEST

/* A write that a replica missed is sent again to all, so a later one of its client must wait, also
 * while another replica still owes an answer to the first. */
START_TEST(test_later_write_waits_for_a_missed_one)
{
    client(0, "set k 0 0 1\r\n1\r\n");
    b.to_node_bytes[0] = 0;
    close_node(1, WIRE_END_EOF);
    b.to_node_bytes[1] = 0;
    greet(1, 101);
    client(0, "set k 0 0 1\r\n2\r\n");
    node(0, "HD\r\n");
    expect_node(0, "ms k 1\r\n1\r\nms k 1\r\n2\r\n");
    expect_node(1, "ms k 1\r\n1\r\nms k 1\r\n2\r\n");
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\nSTORED\r\n");
}
END_TEST

/* Whoever has said that it is drained begins nothing under the old view any more. */
START_TEST(test_drained_is_still)
{
    const char *k = key_of(0);
    client(0, FORMAT("incr %s 1\r\n", k));
    b.to_node_bytes[0] = 0;
    struct topology *t = topology(2, 0);
    hold_view(t);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    if (!b.is_given_up[0]) {
        node(0, "VA 1\r\n7\r\nVA 1 f0 t-1 c5\r\n7\r\n");
    }
    expect_node(1, "");
    adopt_view(t);
    expect_node(1, FORMAT("ma %s MI D1 v\r\nmg %s v f t c u\r\n", k, k));
    node(1, "VA 1\r\n7\r\nVA 1 f0 t-1 c5\r\n7\r\n");
    expect_client(0, "7\r\n");
}
END_TEST

START_TEST(test_drained_chains_nothing)
{
    struct topology *t = topology(3, 0);
    t->complete = t->leaders = 1;
    t->chained = 2;
    hold_view(t);
    adopt_view(t);
    client(0, "set k 0 0 1\r\nv\r\n");
    expect_node(0, "ms k 1\r\nv\r\n");
    b.report_count = 0;
    t = topology(2, 0); /* the last copy is lost: the filling node is what there is */
    hold_view(t);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    if (!b.is_given_up[0]) {
        node(0, "HD\r\n");
    }
    expect_node(1, "");
}
END_TEST

/* A stranded write whose node comes back after DRAINED waits for the new view. */
START_TEST(test_drained_brings_nothing_home)
{
    client(0, "set k 0 0 1\r\nv\r\n");
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    node(1, "HD\r\n");
    close_node(0, WIRE_END_EOF);
    struct topology *t = topology(2, 0);
    hold_view(t);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    pass(100 * 1000);
    greet(0, 100);
    expect_node(0, "");
    expect_node(1, "");
}
END_TEST

/* A cas whose first run may have taken effect, and whose second is refused, is in doubt: what the
 * leader alone may have is deleted everywhere. */
START_TEST(test_refused_rerun_is_doubtful)
{
    const char *k = key_of(0);
    client(0, FORMAT("add %s 0 0 1\r\nv\r\n", k));
    b.to_node_bytes[0] = 0;
    close_node(0, WIRE_END_EOF);
    greet(0, 100);
    expect_node(0, FORMAT("ms %s 1 ME\r\nv\r\n", k));
    node(0, "NS\r\n");
    expect_client(0, "NOT_STORED\r\n");
    expect_node(0, FORMAT("md %s\r\n", k));
    expect_node(1, FORMAT("md %s\r\n", k));
}
END_TEST

/* A lease that is over: what the nodes still answer leads to nothing that is sent when it is back.
 */
START_TEST(test_lapsed_sends_nothing_later)
{
    const char *k = key_of(0);
    client(0, FORMAT("add %s 0 0 1\r\nv\r\n", k));
    b.to_node_bytes[0] = 0;
    b.lease_until_us = b.now_us;
    pass(1000);
    node(0, "HD\r\n");
    b.lease_until_us = UINT64_MAX;
    pass(1000);
    expect_node(1, FORMAT("md %s\r\n", k));
    expect_node(0, FORMAT("md %s\r\n", k));
}
END_TEST

/* Nothing can be answered without a lease, so the connection ends with the deadline (C6). */
START_TEST(test_lapsed_closes)
{
    client(0, "get k0\r\n");
    b.lease_until_us = b.now_us;
    pass(1000);
    client(1, "set k0 0 0 1\r\nv\r\n");
    for (int i = 0; i < 80; i++) {
        pass(20 * 1000);
    }
    ck_assert(b.is_closed[0]);
    ck_assert(b.is_closed[1]);
    ck_assert(!b.is_closed[2]);
    expect_client(0, "");
    expect_client(1, "");
}
END_TEST

/* The leader refused a store for its size while another replica got lost. */
START_TEST(test_leader_error_with_a_missed_replica)
{
    const char *k = key_of(0);
    struct topology *t = topology(3, 0);
    adopt_view(t);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    close_node(1, WIRE_END_RESET);
    node(0, "SERVER_ERROR object too large for cache\r\n");
    t = topology(1, 0);
    hold_view(t);
    adopt_view(t);
    expect_node(0, FORMAT("md %s\r\n", k));
    node(0, "NF\r\n");
    expect_client(0, "SERVER_ERROR object too large for cache\r\n");
}
END_TEST

/* A replica that did not take the write is not one that has it, whatever words it has for that. */
START_TEST(test_replica_refuses)
{
    const char *k = key_of(0);
    static const char *const words[] = {"CLIENT_ERROR bad data chunk\r\n", "ERROR\r\n", "NS\r\n"};
    for (size_t i = 0; i < 3; i++) {
        client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
        b.to_node_bytes[0] = 0;
        b.to_node_bytes[1] = 0;
        node(0, "HD\r\n");
        node(1, words[i]);
        expect_node(1, FORMAT("md %s\r\n", k));
        node(1, "NF\r\n");
        expect_client(0, "STORED\r\n");
    }
}
END_TEST

/* A word that does not fit the command is as bad as another's reply. */
START_TEST(test_words_that_do_not_fit)
{
    static const struct {
        const char *before; /* the command, up to its key */
        const char *behind;
        const char *reply;
    } cases[] = {
        {"incr ", " 1\r\n", "HD\r\nEN\r\n"},
        {"incr ", " 1\r\n", "VA 4\r\n1\r\n2\r\nEN\r\n"},
        {"incr ", " 1\r\n", "VA 0\r\n\r\nEN\r\n"},
        {"delete ", "\r\n", "NS\r\n"},
        {"touch ", " 1\r\n", "NS\r\n"},
        {"set ", " 0 0 1\r\nv\r\n", "EN\r\n"},
        {"gats 5 ", "\r\n", "VALUE other 0 1 5\r\nv\r\nEND\r\n"},
    };
    const char *k = key_of(0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        b.is_given_up[0] = false;
        client(0, FORMAT("%s%s%s", cases[i].before, k, cases[i].behind));
        node(0, cases[i].reply);
        ck_assert_msg(b.is_given_up[0], "%s", cases[i].reply);
        restart(MEMORY_BYTES);
    }
}
END_TEST

/* A delete in doubt is still a delete after a lapse. */
START_TEST(test_invalidation_survives_a_lapse)
{
    const char *k = key_of(0);
    client(0, FORMAT("add %s 0 0 1\r\nv\r\n", k));
    b.lease_until_us = b.now_us;
    pass(1000);
    node(0, "HD\r\n");
    b.lease_until_us = UINT64_MAX;
    pass(1000);
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    /* The invalidation is out; a second lapse, and node 1 is lost before it has it. */
    b.lease_until_us = b.now_us;
    pass(1000);
    node(0, "HD\r\n");
    close_node(1, WIRE_END_EOF);
    b.is_connecting[1] = false;
    b.lease_until_us = UINT64_MAX;
    pass(1000);
    b.is_connecting[1] = true;
    greet(1, 101);
    expect_node(1, FORMAT("md %s\r\n", k));
}
END_TEST

/* A read that lost its leader waits for what its client wrote before it. */
START_TEST(test_read_waits_for_own_write)
{
    const char *k = key_of(0);
    client(0, FORMAT("add %s 0 0 1\r\nv\r\nget %s\r\n", k, k));
    b.to_node_bytes[0] = 0;
    close_node(0, WIRE_END_EOF);
    expect_node(1, "");
    greet(0, 100);
    expect_node(0, FORMAT("ms %s 1 ME\r\nv\r\n", k));
    node(0, "HD\r\n");
    expect_node(1, FORMAT("ms %s 1\r\nv\r\n", k));
    node(1, "HD\r\n");
    pass(20 * 1000);
    expect_node(0, FORMAT("get %s\r\n", k));
    node(0, FORMAT("VALUE %s 0 1\r\nv\r\nEND\r\n", k));
    expect_client(0, FORMAT("STORED\r\nVALUE %s 0 1\r\nv\r\nEND\r\n", k));
}
END_TEST

/* A plain write may be sent again, so nothing is decided about its key before it is over. */
START_TEST(test_decision_waits_for_plain_write)
{
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\n1\r\n", k));
    client(1, FORMAT("incr %s 1\r\n", k));
    expect_node(0, FORMAT("ms %s 1\r\n1\r\n", k));
    node(0, "HD\r\n");
    expect_node(0, "");
    node(1, "HD\r\n");
    expect_node(0, FORMAT("ma %s MI D1 v\r\nmg %s v f t c u\r\n", k, k));
}
END_TEST

/* Of two writes to one key the first was cut off, and must wait; the second was never sent, and
 * must not go ahead of it. */
START_TEST(test_unsent_write_waits_for_a_cut_one)
{
    client(0, "set k 0 0 1\r\n1\r\n");
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    dataplane_turn(b.dp, b.now_us, b.lease_until_us);
    dataplane_step(b.dp, &(struct dataplane_event){.type = DATAPLANE_CLIENT_BYTES,
                                                   .client = 0,
                                                   .bytes = SLICE("set k 0 0 1\r\n2\r\n")});
    dataplane_step(b.dp, &(struct dataplane_event){
                             .type = DATAPLANE_NODE_CLOSED, .link = 1, .end = WIRE_END_RESET});
    run();
    expect_node(0, "ms k 1\r\n2\r\n");
    node(0, "HD\r\nHD\r\n");
    greet(1, 101);
    expect_node(0, "");
    expect_node(1, "");
    struct topology *t = topology(1, 0);
    hold_view(t);
    adopt_view(t);
}
END_TEST

/* What was given up ends by a timeout when its successor is open already: it is proven in time. */
START_TEST(test_late_end_is_proven)
{
    client(0, FORMAT("get %s\r\n", key_of(1)));
    pass(760 * 1000);
    ck_assert(b.is_given_up[1]);
    node(0, "END\r\n");
    expect_client(0, "END\r\n");
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    greet(1, 101);
    b.given_up[1]--;
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_ENDED, .link = 1, .end = WIRE_END_TIMEOUT});
    hold_view(topology(3, 0));
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    pass(1000 * 1000);
    pass(510 * 1000);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
}
END_TEST

/* A write whose client is gone does not keep the view from changing for ever. */
START_TEST(test_stranded_orphan_ends)
{
    adopt_view(topology(1, 0));
    client(0, "add k 0 0 1\r\nv\r\n");
    close_node(0, WIRE_END_RESET);
    step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_LOST, .client = 0});
    b.to_node_bytes[0] = 0;
    greet(0, 100);
    b.given_up[1]--; /* by the view without it */
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_ENDED, .link = 1, .end = WIRE_END_EOF});
    hold_view(topology(1, 2));
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    for (int i = 0; i < 80; i++) {
        pass(20 * 1000);
    }
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
}
END_TEST

/* The same of a delete of our own that was cut off at the last copy: it is sent again, when what
 * the connection carried is surely done. Sooner, that might be done after a later write. */
START_TEST(test_cut_invalidation_is_sent_again)
{
    adopt_view(topology(1, 0));
    client(0, "add k 0 0 1\r\nv\r\n");
    b.lease_until_us = b.now_us;
    pass(1000);
    node(0, "HD\r\n");
    b.lease_until_us = UINT64_MAX;
    b.to_node_bytes[0] = 0;
    pass(1000);
    expect_node(0, "md k\r\n");
    close_node(0, WIRE_END_RESET);
    greet(0, 100);
    client(1, "set k 0 0 1\r\nw\r\n");
    pass(1400 * 1000);
    expect_node(0, "");
    pass(150 * 1000);
    expect_node(0, "md k\r\n");
}
END_TEST

/* Two nodes missed a write; one is back, the other leaves. The write does not wait for the view,
 * nor the view for the write. */
START_TEST(test_write_and_leaver)
{
    client(0, "set k 0 0 1\r\nv\r\n");
    close_node(0, WIRE_END_EOF);
    close_node(1, WIRE_END_EOF);
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    greet(0, 100);
    b.is_connecting[1] = false;
    close_node(1, WIRE_END_REFUSED);
    struct topology *t = topology(1, 0);
    hold_view(t);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    adopt_view(t);
    expect_node(0, "ms k 1\r\nv\r\n");
    node(0, "HD\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

/* Requests that wait behind a held write keep the time at which each came. */
START_TEST(test_waiting_input_keeps_its_time)
{
    hold_view(topology(3, 0));
    for (int i = 0; i < 14; i++) {
        client(0, "set k 0 0 1\r\nv\r\n");
        pass(100 * 1000);
    }
    for (int i = 0; i < 30; i++) {
        pass(20 * 1000);
    }
    /* 2 s after the first, those of the first half second are over. */
    ck_assert_uint_ge(b.to_client_bytes[0], 5 * strlen("SERVER_ERROR timed out\r\n"));
    for (int i = 0; i < 50; i++) {
        pass(20 * 1000);
    }
    ck_assert_uint_eq(b.to_client_bytes[0], 14 * strlen("SERVER_ERROR timed out\r\n"));
}
END_TEST

/* --- Tokens --- */

/* What node N was sent, with the digits of each token as "#"; returns the last of them. */
static uint64_t expect_node_token(uint32_t n, const char *wanted)
{
    char token[TOKEN_DIGITS + 1] = {0};
    b.to_node[n][b.to_node_bytes[n]] = 0;
    for (char *at = strstr(b.to_node[n], " E"); at != NULL; at = strstr(at + 1, " E")) {
        memcpy(token, at + 2, TOKEN_DIGITS);
        memmove(at + 3, at + 2 + TOKEN_DIGITS, strlen(at + 2 + TOKEN_DIGITS) + 1);
        at[2] = '#';
    }
    ck_assert_str_eq(b.to_node[n], wanted);
    b.to_node_bytes[n] = 0;
    return strtoull(token, NULL, 10);
}

static struct topology *token_topology(node_set complete, node_set chained)
{
    struct topology *t = topology(complete, chained);
    t->has_tokens = true;
    t->proxy_id = 7;
    t->token_base_ms = 1000;
    return t;
}

START_TEST(test_copies_get_one_token)
{
    adopt_view(token_topology(3, 0));
    client(0, "set k 0 0 1\r\nv\r\n");
    uint64_t token = expect_node_token(0, "ms k 1 E#\r\nv\r\n");
    ck_assert_uint_eq(expect_node_token(1, "ms k 1 E#\r\nv\r\n"), token);
    ck_assert_uint_eq(token >> TOKEN_SHIFT_PROXY & 0xff, 7);
    ck_assert_uint_eq(token >> TOKEN_SHIFT_MS, 1000 + b.now_us / 1000);
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");

    /* What is decided gets its token at the leader, and the others the same. */
    const char *k = key_of(0);
    client(0, FORMAT("add %s 0 0 1\r\nv\r\n", k));
    token = expect_node_token(0, FORMAT("ms %s 1 E# ME\r\nv\r\n", k));
    node(0, "HD\r\n");
    ck_assert_uint_eq(expect_node_token(1, FORMAT("ms %s 1 E#\r\nv\r\n", k)), token);
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");

    /* A number that grows loses it: the item says which CAS it has. */
    client(0, FORMAT("incr %s 1\r\n", k));
    (void)expect_node_token(0, FORMAT("ma %s MI D1 E# v\r\nmg %s v f t c u\r\n", k, k));
    node(0, "VA 2\r\n10\r\nVA 2 f0 t-1 c44\r\n10\r\n");
    /* Not the number that memcached gave it: see token_is. */
    expect_node(1, FORMAT("ms %s 2\r\n10\r\n", k));
    node(1, "HD\r\n");
    expect_client(0, "10\r\n");
}
END_TEST

START_TEST(test_rerun_gets_a_new_token)
{
    adopt_view(token_topology(3, 0));
    client(0, "set k 0 0 1\r\nv\r\n");
    uint64_t token = expect_node_token(0, "ms k 1 E#\r\nv\r\n");
    node(0, "HD\r\n");
    b.to_node_bytes[1] = 0;
    close_node(1, WIRE_END_EOF);
    greet(1, 101);
    ck_assert_uint_ne(expect_node_token(0, "ms k 1 E#\r\nv\r\n"), token);
    ck_assert_uint_ne(expect_node_token(1, "ms k 1 E#\r\nv\r\n"), token);
}
END_TEST

START_TEST(test_cas_is_the_token)
{
    adopt_view(token_topology(3, 0));
    const char *k = key_of(0);
    client(0, FORMAT("gets %s\r\n", k));
    expect_node(0, FORMAT("gets %s\r\n", k));
    node(0, FORMAT("VALUE %s 0 1 900000000000000001\r\nv\r\nEND\r\n", k));
    expect_client(0, FORMAT("VALUE %s 0 1 900000000000000001\r\nv\r\nEND\r\n", k));
    client(0, FORMAT("cas %s 0 0 1 900000000000000001\r\nw\r\n", k));
    (void)expect_node_token(0, FORMAT("ms %s 1 E# C00900000000000000001\r\nw\r\n", k));
    node(0, "EX\r\n");
    expect_client(0, "EXISTS\r\n");
}
END_TEST

/* A write that came before it was known whether the nodes have tokens. */
START_TEST(test_token_is_blanked)
{
    hold_view(token_topology(3, 0));
    adopt_view(token_topology(3, 0));
    hold_view(topology(3, 0));
    client(0, "set k 0 0 1\r\nv\r\n");
    expect_node(0, "");
    adopt_view(topology(3, 0));
    expect_node(0, "ms k 1                     \r\nv\r\n");
}
END_TEST

/* A deletion in doubt that misses a node which left in one view and is back in the next, before any
 * of the two took effect: it holds up neither. */
START_TEST(test_drained_twice)
{
    const char *k = key_of(0);
    client(0, FORMAT("add %s 0 0 1\r\nv\r\n", k));
    b.lease_until_us = b.now_us;
    pass(1000);
    node(0, "HD\r\n");
    b.lease_until_us = UINT64_MAX;
    pass(1000);
    expect_node(1, FORMAT("md %s\r\n", k));
    node(0, "HD\r\n");
    close_node(1, WIRE_END_EOF);
    hold_view(topology(1, 0));
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    b.report_count = 0;
    struct topology *t = topology(3, 0);
    hold_view(t);
    const struct control_report *report = last_report(CONTROL_REPORT_DRAINED);
    ck_assert_ptr_nonnull(report);
    ck_assert_uint_eq(report->serial, t->serial);
    adopt_view(t);
    b.to_node_bytes[0] = 0;
    pass(100 * 1000);
    b.to_node_bytes[1] = 0;
    greet(1, 101);
    expect_node(0, FORMAT("md %s\r\n", k));
    expect_node(1, FORMAT("md %s\r\n", k));
}
END_TEST

/* A view without a complete node: what waits there for one is no reason to stay in it. */
START_TEST(test_drained_without_a_complete_node)
{
    const char *k = key_of(0);
    client(0, FORMAT("add %s 0 0 1\r\nv\r\n", k));
    b.lease_until_us = b.now_us;
    pass(1000);
    node(0, "HD\r\n");
    b.lease_until_us = UINT64_MAX;
    pass(1000);
    node(0, "HD\r\n");
    close_node(1, WIRE_END_EOF);
    struct topology *t = topology(0, 2);
    hold_view(t);
    adopt_view(t);
    pass(100 * 1000);
    b.to_node_bytes[1] = 0;
    greet(1, 101);
    b.report_count = 0;
    hold_view(topology(2, 0));
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
}
END_TEST

/* A node that left in one view and is back, to be filled, in the next, before the first took effect
 * here: what it missed by a reset is over, and the write goes on to it behind the others. */
START_TEST(test_drained_after_a_reset)
{
    client(0, "set k 0 0 1\r\nv\r\n");
    node(0, "HD\r\n");
    close_node(1, WIRE_END_RESET);
    hold_view(topology(1, 0));
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    b.report_count = 0;
    struct topology *t = topology(1, 2);
    hold_view(t);
    pass(100 * 1000);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED)); /* it may still be done there */
    b.to_node_bytes[1] = 0;
    greet(1, 102);
    pass(20 * 1000);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED)); /* not by another process */
    adopt_view(t);
    expect_node(1, "ms k 1\r\nv\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

/* --- Settling --- */

static struct topology *settling(node_set complete, node_set chained)
{
    struct topology *t = token_topology(complete, chained);
    t->is_settling = true;
    return t;
}

/* Key k0, led by node 0, written and acknowledged; it waits for its comparison. */
static const char *written(void)
{
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    ck_assert_uint_eq(dataplane_stats(b.dp)->settle_queue, 1);
    return k;
}

/* The copies are compared now, and look so. */
static void compare(const char *k, const char *first, const char *second)
{
    expect_node(0, FORMAT("mg %s c t u\r\n", k));
    expect_node(1, FORMAT("mg %s c t u\r\n", k));
    node(0, first);
    node(1, second);
}

static void assert_settled(void)
{
    ck_assert_uint_eq(dataplane_stats(b.dp)->settle_queue, 0);
    expect_node(0, "");
    expect_node(1, "");
}

/* The same difference twice, a request timeout apart; the leader is being asked for its item. */
static const char *differing(const char *first, const char *second)
{
    adopt_view(settling(3, 0));
    const char *k = written();
    pass(20 * 1000);
    compare(k, first, second);
    pass(1000 * 1000);
    expect_node(0, "");
    pass(500 * 1000);
    compare(k, first, second);
    expect_node(0, FORMAT("mg %s v f t c u\r\n", k));
    expect_node(1, "");
    return k;
}

/* What a client marked is not looked at, as a look may take the win: whatever the spelling under
 * which it was written before, and though it was touched since. */
START_TEST(test_marks_count_for_both_spellings)
{
    static const char *const base64[] = {"azA=", "azE=", "azI=", "azM=", "azQ=", "azU="};
    adopt_view(settling(3, 0));
    const char *k = key_of(0);
    client(0, FORMAT("ms %s 1 b\r\nv\r\n", base64[k[1] - '0']));
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "HD\r\n");
    client(0, FORMAT("ms %s 1 I C1\r\nx\r\n", k));
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "HD\r\n");
    client(0, FORMAT("touch %s 0\r\n", k));
    node(0, "TOUCHED\r\n");
    node(1, "NOT_FOUND\r\n");
    expect_client(0, "TOUCHED\r\n");
    ck_assert_uint_eq(dataplane_stats(b.dp)->settle_queue, 1);
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    pass(20 * 1000);
    assert_settled();
    /* Another item is compared again. */
    (void)written();
    pass(20 * 1000);
    compare(k, "EN\r\n", "EN\r\n");
    assert_settled();
}
END_TEST

START_TEST(test_equal_copies_are_forgotten)
{
    adopt_view(settling(3, 0));
    const char *k = written();
    pass(10 * 1000);
    expect_node(0, "");
    pass(10 * 1000);
    compare(k, "HD c900000000000000005 t100\r\n", "HD c900000000000000005 t98\r\n");
    assert_settled();
    (void)written();
    pass(20 * 1000);
    compare(k, "EN\r\n", "EN\r\n");
    assert_settled();
}
END_TEST

START_TEST(test_other_copy_is_mended)
{
    const char *k = differing("HD c900000000000000005 t-1\r\n", "HD c900000000000000006 t-1\r\n");
    node(0, "VA 1 f3 t-1 c900000000000000005\r\nv\r\n");
    expect_node(1, FORMAT("ms %s 1 C900000000000000006 c F3 E900000000000000005\r\nv\r\n", k));
    /* A write of our own waits until the copy has been looked at again. */
    client(1, FORMAT("incr %s 1\r\n", k));
    node(1, "HD c900000000000000005\r\n");
    expect_node(0, FORMAT("mg %s c t u\r\n", k));
    node(0, "HD c900000000000000005 t-1\r\n");
    ck_assert_uint_eq(dataplane_stats(b.dp)->repairs, 1);
    (void)expect_node_token(0, FORMAT("ma %s MI D1 E# v\r\nmg %s v f t c u\r\n", k, k));
}
END_TEST

START_TEST(test_missing_copy_is_mended)
{
    const char *k = differing("HD c900000000000000005 t-1\r\n", "EN\r\n");
    node(0, "VA 1 f0 t9 c900000000000000005\r\nv\r\n");
    expect_node(1, FORMAT("ms %s 1 ME c E900000000000000005 T9\r\nv\r\n", k));
    node(1, "HD c900000000000000005\r\n");
    expect_node(0, FORMAT("mg %s c t u\r\n", k));
    node(0, "HD c900000000000000005 t9\r\n");
    pass(1000);
    compare(k, "HD c900000000000000005 t9\r\n", "HD c900000000000000005 t9\r\n");
    assert_settled();
}
END_TEST

START_TEST(test_mended_copy_is_undone_when_the_leader_changed)
{
    const char *k = differing("HD c900000000000000005 t-1\r\n", "HD c900000000000000006 t-1\r\n");
    node(0, "VA 1 f0 t-1 c900000000000000005\r\nv\r\n");
    b.to_node_bytes[1] = 0;
    node(1, "HD c900000000000000005\r\n");
    expect_node(0, FORMAT("mg %s c t u\r\n", k));
    node(0, "HD c900000000000000007 t-1\r\n");
    expect_node(1, FORMAT("md %s C900000000000000005\r\n", k));
    node(1, "EX\r\n");
    ck_assert_uint_eq(dataplane_stats(b.dp)->repairs, 0);
    ck_assert_uint_eq(dataplane_stats(b.dp)->settle_queue, 1);
}
END_TEST

START_TEST(test_surplus_copy_is_deleted)
{
    const char *k = differing("EN\r\n", "HD c900000000000000006 t-1\r\n");
    node(0, "EN\r\n");
    expect_node(1, FORMAT("md %s C900000000000000006\r\n", k));
    node(1, "HD\r\n");
    expect_node(0, FORMAT("mg %s c t u\r\n", k));
    node(0, "EN\r\n");
    ck_assert_uint_eq(dataplane_stats(b.dp)->repairs, 1);
}
END_TEST

/* A mending whose end nobody knows: the key is deleted everywhere when the connection is at its
 * end; and before that no view is joined. */
START_TEST(test_cut_mending_deletes)
{
    const char *k = differing("HD c900000000000000005 t-1\r\n", "HD c900000000000000006 t-1\r\n");
    node(0, "VA 1 f0 t-1 c900000000000000005\r\nv\r\n");
    hold_view(settling(3, 0));
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    b.to_node_bytes[1] = 0;
    close_node(1, WIRE_END_EOF);
    adopt_view(settling(3, 0));
    greet(1, 101);
    pass(20 * 1000);
    expect_node(0, FORMAT("md %s\r\n", k));
    expect_node(1, FORMAT("md %s\r\n", k));
}
END_TEST

/* What was seen before a write of our own says nothing about it. */
START_TEST(test_comparison_before_a_write_counts_for_nothing)
{
    adopt_view(settling(3, 0));
    const char *k = written();
    pass(20 * 1000);
    expect_node(0, FORMAT("mg %s c t u\r\n", k));
    expect_node(1, FORMAT("mg %s c t u\r\n", k));
    node(0, "HD c900000000000000005 t-1\r\n");
    client(1, FORMAT("delete %s\r\n", k));
    node(1, "HD c900000000000000005 t-1\r\n");
    expect_node(0, FORMAT("md %s\r\n", k));
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    b.to_node_bytes[1] = 0;
    pass(20 * 1000);
    compare(k, "EN\r\n", "EN\r\n");
    assert_settled();
}
END_TEST

/* A mark lives on the leader alone. A win that our look took is given back. */
START_TEST(test_marked_items_are_left_alone)
{
    adopt_view(settling(3, 0));
    const char *k = written();
    pass(20 * 1000);
    compare(k, "HD c900000000000000005 t-1 W X\r\n", "EN\r\n");
    expect_node(0, FORMAT("md %s I E900000000000000005 C900000000000000005\r\n", k));
    node(0, "HD\r\n");
    assert_settled();
}
END_TEST

/* A filling node is compared, but only its filler copies to it: the key waits until it is there. */
START_TEST(test_difference_on_a_filling_node_is_parked)
{
    adopt_view(settling(1, 2));
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    b.to_node_bytes[0] = 0;
    node(0, "HD\r\n");
    b.to_node_bytes[1] = 0;
    node(1, "HD\r\n");
    for (uint32_t i = 0; i < 2; i++) {
        pass(1500 * 1000);
        compare(k, "HD c900000000000000005 t-1\r\n", "HD c900000000000000006 t-1\r\n");
    }
    pass(3000 * 1000);
    expect_node(0, "");
    ck_assert_uint_eq(last_report(CONTROL_REPORT_PARKED)->count, 1);
    adopt_view(settling(3, 0));
    pass(1000);
    compare(k, "HD c900000000000000005 t-1\r\n", "HD c900000000000000005 t-1\r\n");
    ck_assert_uint_eq(last_report(CONTROL_REPORT_PARKED)->count, 0);
    assert_settled();
}
END_TEST

/* Without tokens: what each node called our write; and values where that is not what is there. */
START_TEST(test_copies_without_tokens)
{
    struct topology *t = topology(3, 0);
    t->is_settling = true;
    adopt_view(t);
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    expect_node(0, FORMAT("ms %s 1 c\r\nv\r\n", k));
    expect_node(1, FORMAT("ms %s 1 c\r\nv\r\n", k));
    node(0, "HD c5\r\n");
    node(1, "HD c9\r\n");
    expect_client(0, "STORED\r\n");
    pass(20 * 1000);
    compare(k, "HD c5 t-1\r\n", "HD c10 t-1\r\n");
    expect_node(0, FORMAT("mg %s v f t c u\r\n", k));
    expect_node(1, FORMAT("mg %s v f t c u\r\n", k));
    node(0, "VA 1 f0 t-1 c5\r\nv\r\n");
    node(1, "VA 1 f0 t-1 c10\r\nv\r\n");
    assert_settled();

    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    node(0, "HD c6\r\n");
    node(1, "HD c11\r\n");
    pass(20 * 1000);
    compare(k, "HD c6 t-1\r\n", "HD c11 t-1\r\n");
    assert_settled();
}
END_TEST

/* Also where nobody else writes: an item that expires just now is touched on one node only. */
START_TEST(test_uneven_touch_is_compared)
{
    adopt_view(token_topology(3, 0));
    const char *k = key_of(0);
    client(0, FORMAT("touch %s 0\r\n", k));
    b.to_node_bytes[0] = 0;
    b.to_node_bytes[1] = 0;
    node(0, _i == 0 ? "NOT_FOUND\r\n" : "TOUCHED\r\n");
    node(1, _i == 1 ? "NOT_FOUND\r\n" : "TOUCHED\r\n");
    expect_client(0, _i == 0 ? "NOT_FOUND\r\n" : "TOUCHED\r\n");
    ck_assert_uint_eq(dataplane_stats(b.dp)->settle_queue, _i < 2);
    if (_i == 0) {
        const char *there = "HD c900000000000000005 t-1\r\n";
        pass(20 * 1000);
        compare(k, "EN\r\n", there);
        pass(1500 * 1000);
        compare(k, "EN\r\n", there);
        expect_node(0, FORMAT("mg %s v f t c u\r\n", k));
        node(0, "EN\r\n");
        expect_node(1, FORMAT("md %s C900000000000000005\r\n", k));
    }
}
END_TEST

/* Room for so many keys, and no more: the next write waits, and goes when one has settled. */
START_TEST(test_settle_queue_is_bounded)
{
    adopt_view(settling(3, 0));
    for (uint32_t i = 0; i < SETTLE_ENTRIES_MAX; i++) {
        client(0, FORMAT("set key%u 0 0 1\r\nv\r\n", i));
        node(0, "HD\r\n");
        node(1, "HD\r\n");
        b.to_node_bytes[0] = 0;
        b.to_node_bytes[1] = 0;
        b.to_client_bytes[0] = 0;
    }
    client(0, "set key0 0 0 1\r\nv\r\nset more 0 0 1\r\nv\r\n");
    (void)expect_node_token(0, "ms key0 1 E#\r\nv\r\n");
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    expect_node(0, "");
    ck_assert_uint_eq(dataplane_stats(b.dp)->settle_queue, SETTLE_ENTRIES_MAX);
    pass(20 * 1000);
    node(0, "HD c900000000000000005 t-1\r\n");
    node(1, "HD c900000000000000005 t-1\r\n");
    ck_assert_ptr_nonnull(strstr(b.to_node[0], "ms more 1 E"));
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("dataplane");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 20);
    tcase_add_test(tcase, test_get);
    tcase_add_test(tcase, test_set_goes_to_all);
    tcase_add_test(tcase, test_every_cut);
    tcase_add_test(tcase, test_decided);
    tcase_add_test(tcase, test_incr);
    tcase_add_test(tcase, test_multiget_keeps_order);
    tcase_add_test(tcase, test_wrong_key_is_given_up);
    tcase_add_test(tcase, test_dead_leader);
    tcase_add_test(tcase, test_brought_home);
    tcase_add_test(tcase, test_restart_is_no_home);
    tcase_add_test(tcase, test_chained_after_all_complete);
    tcase_add_test(tcase, test_frozen_node);
    tcase_add_test(tcase, test_deadline);
    tcase_add_test(tcase, test_rerun_in_order);
    tcase_add_test(tcase, test_deadline_after_idling);
    tcase_add_test(tcase, test_lease);
    tcase_add_test(tcase, test_errors_of_clients);
    tcase_add_test(tcase, test_item_error_of_replica);
    tcase_add_test(tcase, test_pipeline_limit);
    tcase_add_test(tcase, test_long_line_in_pieces);
    tcase_add_test(tcase, test_line_without_end);
    tcase_add_test(tcase, test_long_line_in_drops);
    tcase_add_test(tcase, test_longest_line);
    tcase_add_test(tcase, test_multiget_without_memory);
    tcase_add_test(tcase, test_unfinished_stores_let_go);
    tcase_add_test(tcase, test_merge_without_memory);
    tcase_add_test(tcase, test_gat_many_fails_once);
    tcase_add_test(tcase, test_late_answer_changes_nothing);
    tcase_add_test(tcase, test_late_number_changes_nothing);
    tcase_add_test(tcase, test_later_write_waits_for_a_missed_one);
    tcase_add_test(tcase, test_drained_is_still);
    tcase_add_test(tcase, test_drained_chains_nothing);
    tcase_add_test(tcase, test_drained_brings_nothing_home);
    tcase_add_test(tcase, test_refused_rerun_is_doubtful);
    tcase_add_test(tcase, test_lapsed_sends_nothing_later);
    tcase_add_test(tcase, test_lapsed_closes);
    tcase_add_test(tcase, test_leader_error_with_a_missed_replica);
    tcase_add_test(tcase, test_replica_refuses);
    tcase_add_test(tcase, test_words_that_do_not_fit);
    tcase_add_test(tcase, test_invalidation_survives_a_lapse);
    tcase_add_test(tcase, test_read_waits_for_own_write);
    tcase_add_test(tcase, test_decision_waits_for_plain_write);
    tcase_add_test(tcase, test_unsent_write_waits_for_a_cut_one);
    tcase_add_test(tcase, test_late_end_is_proven);
    tcase_add_test(tcase, test_stranded_orphan_ends);
    tcase_add_test(tcase, test_cut_invalidation_is_sent_again);
    tcase_add_test(tcase, test_write_and_leaver);
    tcase_add_test(tcase, test_waiting_input_keeps_its_time);
    tcase_add_test(tcase, test_copies_get_one_token);
    tcase_add_test(tcase, test_rerun_gets_a_new_token);
    tcase_add_test(tcase, test_cas_is_the_token);
    tcase_add_test(tcase, test_token_is_blanked);
    tcase_add_test(tcase, test_marks_count_for_both_spellings);
    tcase_add_test(tcase, test_equal_copies_are_forgotten);
    tcase_add_test(tcase, test_other_copy_is_mended);
    tcase_add_test(tcase, test_missing_copy_is_mended);
    tcase_add_test(tcase, test_mended_copy_is_undone_when_the_leader_changed);
    tcase_add_test(tcase, test_surplus_copy_is_deleted);
    tcase_add_test(tcase, test_cut_mending_deletes);
    tcase_add_test(tcase, test_comparison_before_a_write_counts_for_nothing);
    tcase_add_test(tcase, test_marked_items_are_left_alone);
    tcase_add_test(tcase, test_difference_on_a_filling_node_is_parked);
    tcase_add_test(tcase, test_copies_without_tokens);
    tcase_add_loop_test(tcase, test_uneven_touch_is_compared, 0, 3);
    tcase_add_test(tcase, test_settle_queue_is_bounded);
    tcase_add_test(tcase, test_drained_twice);
    tcase_add_test(tcase, test_drained_after_a_reset);
    tcase_add_test(tcase, test_drained_without_a_complete_node);
    Suite *suite = suite_create("dataplane");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
