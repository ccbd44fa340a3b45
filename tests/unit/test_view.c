/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * View, heartbeat and id record: their texts byte for byte, random ones back and forth, cut at
 * every byte, changed at every byte; and what a dataplane makes of a view. TEST_SEED repeats a run.
 */
#include "everwarm/core/trace.h"
#include "everwarm/core/view.h"
#include "everwarm/core/wire.h"

#include "core/heartbeat.h"
#include "everwarm/base/prng.h"
#include "guarded.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    ROUNDS = 200,
    MUTATED_ROUNDS = 3,
    TEXT_BYTES_MAX = VIEW_BYTES_MAX + 16,
};

static uint64_t seed;

struct fixture {
    struct slice nodes[NODES_MAX];
    char bytes[NODES_MAX][NODE_NAME_BYTES_MAX];
    struct view_names names;
};

static const struct slice three[] = {SLICE_INIT("10.0.0.2:11211"), SLICE_INIT("cache%1"),
                                     SLICE_INIT("10.0.0.1:11211")};
static const struct view_names three_names = {
    .pool = SLICE_INIT("main"), .node_count = 3, .nodes = three};

static struct prng prng_for(int round)
{
    return (struct prng){.state = seed + (uint64_t)round};
}

/* COUNT names of LEN random bytes, the first of which makes each another. */
static void make_names(struct fixture *f, struct prng *prng, uint32_t count, size_t len)
{
    for (uint32_t i = 0; i < count; i++) {
        for (size_t at = 0; at < len; at++) {
            f->bytes[i][at] = (char)(unsigned char)prng_below(prng, 256);
        }
        f->bytes[i][0] = (char)(unsigned char)(i * 7 + 1);
        f->nodes[i] = slice_of(f->bytes[i], len);
    }
    f->names = (struct view_names){.pool = SLICE("p"), .node_count = count, .nodes = f->nodes};
}

/* Numbers of all sizes, the largest and the smallest more often. */
static uint64_t any_number(struct prng *prng)
{
    uint64_t shift = prng_below(prng, 66);
    return shift == 65 ? UINT64_MAX : shift == 64 ? 0 : prng_next(prng) >> shift;
}

static struct view random_view(struct prng *prng, const struct view_names *names)
{
    struct view v = {.epoch = any_number(prng) | 1,
                     .proposer = (uint16_t)prng_below(prng, PROXIES_MAX),
                     .is_young = prng_below(prng, 2) == 0,
                     .has_tokens = prng_below(prng, 2) == 0,
                     .alone = VIEW_NO_PROXY,
                     .flush_by = VIEW_NO_PROXY,
                     .due_by = VIEW_NO_PROXY,
                     .ancestor_count = (uint32_t)prng_below(prng, VIEW_ANCESTORS_MAX + 1),
                     .origin = any_number(prng),
                     .members = node_set_all(names->node_count)};
    if (prng_below(prng, 3) == 0) {
        v.flush_by = (uint16_t)prng_below(prng, PROXIES_MAX);
        v.flush_delay_s = (uint32_t)any_number(prng);
    }
    if (prng_below(prng, 3) == 0) {
        v.alone = (uint16_t)prng_below(prng, PROXIES_MAX);
    }
    if (prng_below(prng, 3) == 0) {
        v.due_by = (uint16_t)prng_below(prng, PROXIES_MAX);
    }
    for (uint32_t i = 0; i < v.ancestor_count; i++) {
        v.ancestors[i] = any_number(prng);
    }
    for (uint32_t i = 0; i < names->node_count; i++) {
        struct view_node *node = &v.nodes[i];
        char address[VIEW_ADDRESS_BYTES_MAX];
        size_t address_bytes = prng_below(prng, sizeof address) + 1;
        for (size_t at = 0; at < address_bytes; at++) {
            address[at] = (char)(unsigned char)prng_below(prng, 256);
        }
        view_name_node(node, names->nodes[i], slice_of(address, address_bytes));
        node->is_told = prng_below(prng, 2) == 0;
        node->data = (enum node_data)prng_below(prng, 4);
        node->admin = (enum node_admin)prng_below(prng, 3);
        node->identity = (struct identity){any_number(prng), any_number(prng), any_number(prng)};
        node->filler = VIEW_NO_PROXY;
        if (node->data == NODE_DATA_FILLING && prng_below(prng, 4) > 0) {
            node->filler = (uint16_t)prng_below(prng, PROXIES_MAX);
        }
    }
    view_clear_others(&v);
    view_seal(&v);
    return v;
}

/* Few ancestors, as they are all alike: to be changed at every byte. */
static struct view short_view(struct prng *prng, const struct view_names *names)
{
    struct view v = random_view(prng, names);
    v.ancestor_count %= 3;
    view_seal(&v);
    return v;
}

static struct slice emit(const struct view *view, char *to)
{
    struct mc_writer w = mc_writer_of(to, TEXT_BYTES_MAX);
    view_emit(view, &w);
    ck_assert(!w.is_full);
    return slice_of(to, w.len);
}

static const struct view_node *find_node(const struct view *view, struct slice name)
{
    for (node_set left = view->members; left != 0; left &= left - 1) {
        const struct view_node *node = &view->nodes[node_set_first(left)];
        if (slice_is_equal(view_name(node), name)) {
            return node;
        }
    }
    ck_abort_msg("there is no such node");
}

static void assert_equal(const struct view *a, const struct view *b)
{
    ck_assert_uint_eq(a->epoch, b->epoch);
    ck_assert_uint_eq(a->proposer, b->proposer);
    ck_assert_uint_eq(a->origin, b->origin);
    ck_assert_uint_eq(a->hash, b->hash);
    ck_assert_int_eq(a->is_young, b->is_young);
    ck_assert_int_eq(a->has_tokens, b->has_tokens);
    ck_assert_uint_eq(a->alone, b->alone);
    ck_assert_uint_eq(a->flush_by, b->flush_by);
    ck_assert_uint_eq(a->flush_delay_s, b->flush_delay_s);
    ck_assert_uint_eq(a->due_by, b->due_by);
    ck_assert_uint_eq(a->ancestor_count, b->ancestor_count);
    ck_assert_mem_eq(a->ancestors, b->ancestors, a->ancestor_count * sizeof(a->ancestors[0]));
    ck_assert(view_has_same_names(a, b));
    for (node_set left = a->members; left != 0; left &= left - 1) {
        const struct view_node *x = &a->nodes[node_set_first(left)];
        const struct view_node *y = find_node(b, view_name(x));
        ck_assert(slice_is_equal(view_address(x), view_address(y)));
        ck_assert_int_eq(x->is_told, y->is_told);
        ck_assert_int_eq(x->data, y->data);
        ck_assert_int_eq(x->admin, y->admin);
        ck_assert(identity_is_equal(&x->identity, &y->identity));
        ck_assert_uint_eq(x->filler, y->filler);
    }
}

/* The view of docs/wire.md. */
static struct view example_view(void)
{
    struct view v = {
        .epoch = 7,
        .proposer = 3,
        .has_tokens = true,
        .alone = VIEW_NO_PROXY,
        .flush_by = VIEW_NO_PROXY,
        .due_by = VIEW_NO_PROXY,
        .ancestor_count = 2,
        .ancestors = {UINT64_C(0x0123456789abcdef), UINT64_C(0xfedcba9876543210)},
        .origin = UINT64_C(0x5ca1ab1e00c0ffee),
        .members = 7,
        .nodes = {{.data = NODE_DATA_FILLING, .identity = {4242, 1700000300, 0}, .filler = 3},
                  {.data = NODE_DATA_OUT, .admin = NODE_ADMIN_MAINT, .filler = VIEW_NO_PROXY},
                  {.identity = {811, 1700000000, 2}, .filler = VIEW_NO_PROXY}},
    };
    view_name_node(&v.nodes[0], three[0], three[0]);
    view_name_node(&v.nodes[1], three[1], SLICE("10.0.0.3:11211"));
    view_name_node(&v.nodes[2], three[2], three[2]);
    v.nodes[1].is_told = true;
    view_clear_others(&v);
    view_seal(&v);
    return v;
}

#define EXAMPLE_BODY                                                                               \
    "everwarm-view 1\n"                                                                            \
    "epoch 7\n"                                                                                    \
    "proposer 3\n"                                                                                 \
    "origin 5ca1ab1e00c0ffee\n"                                                                    \
    "young no\n"                                                                                   \
    "tokens yes\n"                                                                                 \
    "alone -\n"                                                                                    \
    "flush -\n"                                                                                    \
    "due -\n"                                                                                      \
    "ancestor 0123456789abcdef\n"                                                                  \
    "ancestor fedcba9876543210\n"                                                                  \
    "node 10.0.0.1:11211 10.0.0.1:11211 own complete ready 811 1700000000 2 -\n"                   \
    "node 10.0.0.2:11211 10.0.0.2:11211 own filling ready 4242 1700000300 0 3\n"                   \
    "node cache%251 10.0.0.3:11211 told out maint 0 0 0 -\n"

START_TEST(writes_the_example)
{
    char text[TEXT_BYTES_MAX];
    struct view v = example_view();
    ck_assert_uint_eq(v.hash, XXH3_64bits(EXAMPLE_BODY, sizeof(EXAMPLE_BODY) - 1));
    struct slice got = emit(&v, text);
    ck_assert_msg(slice_is_equal(got, SLICE(EXAMPLE_BODY "hash 2ca3bd3d3ad92653\nend\n")),
                  "got:\n%.*s", (int)got.len, got.ptr);
    /* A young one that is to be flushed. */
    v.is_young = true;
    v.alone = 7;
    v.flush_by = 255;
    v.flush_delay_s = UINT32_MAX;
    v.due_by = 254;
    view_seal(&v);
    got = emit(&v, text);
    text[got.len] = '\0';
    ck_assert_ptr_nonnull(
        strstr(text, "\nyoung yes\ntokens yes\nalone 7\nflush 255 4294967295\ndue 254\nancestor "));
}
END_TEST

START_TEST(reads_what_it_writes)
{
    struct prng prng = prng_for(_i);
    struct fixture f;
    make_names(&f, &prng, (uint32_t)prng_below(&prng, NODES_MAX) + 1,
               prng_below(&prng, NODE_NAME_BYTES_MAX) + 1);
    struct view v = random_view(&prng, &f.names);
    char text[TEXT_BYTES_MAX];
    struct guarded g = guarded_create(TEXT_BYTES_MAX);
    struct slice s = guarded_place(&g, emit(&v, text));
    struct view back;
    ck_assert(view_parse(s, &back));
    assert_equal(&v, &back);
    guarded_destroy(&g);
}
END_TEST

/* Where nodes stand changes neither text nor hash. */
START_TEST(places_are_no_matter)
{
    struct prng prng = prng_for(_i);
    struct fixture f;
    uint32_t count = (uint32_t)prng_below(&prng, NODES_MAX) + 1;
    make_names(&f, &prng, count, 3);
    struct view v = random_view(&prng, &f.names);
    struct view moved = v;
    uint32_t place[NODES_MAX];
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        place[i] = NODES_MAX - 1 - i;
    }
    view_place(&moved, place);
    char text[TEXT_BYTES_MAX];
    char again[TEXT_BYTES_MAX];
    struct slice before = emit(&v, text);
    ck_assert(slice_is_equal(before, emit(&moved, again)));
    ck_assert_uint_eq(moved.members, ~node_set_all(NODES_MAX - count));
    assert_equal(&v, &moved);
    struct view back;
    ck_assert(view_parse(before, &back));
    ck_assert_uint_eq(back.hash, v.hash);
    ck_assert_uint_eq(back.members, node_set_all(count));
    assert_equal(&v, &back);
}
END_TEST

/* A view with another set of nodes: what stays keeps its text. */
START_TEST(nodes_come_and_go)
{
    struct view v = example_view();
    struct view other = v;
    char text[TEXT_BYTES_MAX];
    struct view back;
    other.members = other.members & ~node_set_of(2);
    other.members |= node_set_of(9);
    view_name_node(&other.nodes[9], SLICE("new"), SLICE("unix:/run/new"));
    other.nodes[9].is_told = true;
    view_clear_others(&other);
    view_seal(&other);
    ck_assert(!view_has_same_names(&v, &other));
    ck_assert_uint_ne(v.hash, other.hash);
    ck_assert(view_parse(emit(&other, text), &back));
    assert_equal(&other, &back);
    ck_assert_uint_eq(back.members, 7);
    ck_assert(identity_is_equal(&find_node(&back, three[0])->identity, &v.nodes[0].identity));
    ck_assert_int_eq(find_node(&back, SLICE("new"))->data, NODE_DATA_OUT);
    ck_assert_int_eq(other.nodes[2].data, NODE_DATA_OUT);
    ck_assert_uint_eq(other.nodes[2].name_bytes, 0);
}
END_TEST

START_TEST(refuses_every_prefix)
{
    struct prng prng = prng_for(_i);
    struct fixture f;
    make_names(&f, &prng, 5, 9);
    struct view v = random_view(&prng, &f.names);
    char text[TEXT_BYTES_MAX];
    struct guarded g = guarded_create(TEXT_BYTES_MAX);
    struct slice s = emit(&v, text);
    struct view back;
    for (size_t len = 0; len < s.len; len++) {
        ck_assert(!view_parse(guarded_place(&g, slice_of(s.ptr, len)), &back));
    }
    text[s.len] = '\n';
    ck_assert(!view_parse(guarded_place(&g, slice_of(text, s.len + 1)), &back));
    ck_assert(!view_parse(slice_of(NULL, 0), &back));
    guarded_destroy(&g);
}
END_TEST

/* The hash stands in the way of all mutations but of itself. */
START_TEST(refuses_every_changed_byte)
{
    struct prng prng = prng_for(_i);
    struct fixture f;
    make_names(&f, &prng, 2, 5);
    struct view v = short_view(&prng, &f.names);
    char text[TEXT_BYTES_MAX];
    struct guarded g = guarded_create(TEXT_BYTES_MAX);
    struct slice s = guarded_place(&g, emit(&v, text));
    char *bytes = g.end - s.len;
    struct view back;
    for (size_t at = 0; at < s.len; at++) {
        char was = bytes[at];
        for (unsigned byte = 0; byte < 256; byte++) {
            bytes[at] = (char)(unsigned char)byte;
            if (bytes[at] != was && view_parse(s, &back)) {
                ck_abort_msg("byte %zu as %02x is taken", at, byte);
            }
        }
        bytes[at] = was;
    }
    guarded_destroy(&g);
}
END_TEST

/* The same behind a hash that fits: what is taken must be what would have been written. */
START_TEST(takes_only_what_it_would_write)
{
    struct prng prng = prng_for(_i);
    struct fixture f;
    make_names(&f, &prng, 2, 5);
    struct view v = short_view(&prng, &f.names);
    char text[TEXT_BYTES_MAX];
    char again[TEXT_BYTES_MAX];
    struct slice s = emit(&v, text);
    size_t body_bytes = s.len - (sizeof("hash 0123456789abcdef\nend\n") - 1);
    for (size_t at = 0; at < body_bytes; at++) {
        char was = text[at];
        for (unsigned byte = 0; byte < 256; byte++) {
            text[at] = (char)(unsigned char)byte;
            struct mc_writer w = mc_writer_of(text + body_bytes, 64);
            mc_write(&w, SLICE("hash "));
            mc_write_hex64(&w, XXH3_64bits(text, body_bytes));
            mc_write(&w, SLICE("\nend\n"));
            struct view back;
            if (view_parse(s, &back)) {
                ck_assert(slice_is_equal(emit(&back, again), s));
                ck_assert_uint_gt(back.epoch, 0);
                ck_assert_uint_lt(back.proposer, PROXIES_MAX);
            }
        }
        text[at] = was;
    }
}
END_TEST

/* What stands between "epoch" and the hash, with a hash that fits. */
struct body_case {
    struct slice body;
    bool is_good;
};

#define TOP                                                                                        \
    "everwarm-view 1\nepoch 1\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens no\nalone "   \
    "-\nflush -\n"
#define HEAD  TOP "due -\n"
#define NODES "node a x own complete ready 1 2 3 -\nnode b x own out ready 0 0 0 -\n"

static const struct body_case body_cases[] = {
    {SLICE_INIT(HEAD NODES), true},
    {SLICE_INIT("everwarm-view 2\nepoch 1\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush -\ndue "
                "-\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 0\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush -\ndue "
                "-\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 01\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush -\ndue "
                "-\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 18446744073709551615\nproposer 255\norigin "
                "0123456789abcdef\nyoung yes\ntokens "
                "yes\nalone 3\nflush 0 0\ndue 0\n" NODES),
     true},
    {SLICE_INIT("everwarm-view 1\nepoch 18446744073709551616\nproposer 0\norigin "
                "0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush -\ndue -\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 1\nproposer 256\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush "
                "-\ndue -\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 1\nproposer -\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush -\ndue "
                "-\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 1\nproposer 0\norigin 0123456789abcdef\nyoung "
                "maybe\ntokens no\nalone -\nflush "
                "-\ndue -\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 1\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush 1\ndue "
                "-\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 1\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush 1 "
                "4294967296\ndue -\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch 1\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush - "
                "1\ndue -\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nepoch  1\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush -\ndue "
                "-\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\r\nepoch 1\nproposer 0\norigin 0123456789abcdef\nyoung no\ntokens "
                "no\nalone -\nflush "
                "-\ndue -\n" NODES),
     false},
    {SLICE_INIT("everwarm-view 1\nproposer 0\norigin 0123456789abcdef\nepoch 1\nyoung no\ntokens "
                "no\nalone -\nflush -\ndue "
                "-\n" NODES),
     false},
    {SLICE_INIT(TOP "due 255\n" NODES), true},
    {SLICE_INIT(TOP "due 256\n" NODES), false},
    {SLICE_INIT(TOP "due 1 1\n" NODES), false},
    {SLICE_INIT(TOP "due\n" NODES), false},
    {SLICE_INIT(TOP NODES), false},
    {SLICE_INIT(HEAD "ancestor 0123456789abcdef\n" NODES), true},
    {SLICE_INIT(HEAD "ancestor 0123456789ABCDEF\n" NODES), false},
    {SLICE_INIT(HEAD "ancestor 0123456789abcde\n" NODES), false},
    {SLICE_INIT(HEAD NODES "ancestor 0123456789abcdef\n"), false},
    {SLICE_INIT(HEAD NODES "more 1\n"), false},
    {SLICE_INIT(HEAD), false},
    {SLICE_INIT(HEAD "node a x own complete ready 1 2 3 -\n"), true},
    {SLICE_INIT(HEAD "node a x told complete ready 1 2 3 -\n"), true},
    {SLICE_INIT(HEAD "node a x mine complete ready 1 2 3 -\n"), false},
    {SLICE_INIT(HEAD "node a own complete ready 1 2 3 -\n"), false},
    {SLICE_INIT(HEAD "node a x complete ready 1 2 3 -\n"), false},
    {SLICE_INIT(HEAD "node a %78 own complete ready 1 2 3 -\n"), false},
    {SLICE_INIT("everwarm-view 1\nepoch 1\nproposer 0\nyoung no\ntokens no\nalone -\nflush -\n"
                "due -\n" NODES),
     false},
    {SLICE_INIT(HEAD "node b x own out ready 0 0 0 -\nnode a x own complete ready 1 2 3 -\n"),
     false},
    {SLICE_INIT(HEAD "node a x own out ready 0 0 0 -\n" NODES), false},
    {SLICE_INIT(HEAD NODES "node c x own out ready 0 0 0 -\n"), true},
    {SLICE_INIT(HEAD "node %61 x own complete ready 1 2 3 -\nnode b x own out ready 0 0 0 -\n"),
     false},
    {SLICE_INIT(HEAD "node a x own filling ready 1 2 3 7\nnode b x own warming drain 0 0 0 -\n"),
     true},
    {SLICE_INIT(HEAD "node a x own filling maint 1 2 3 -\nnode b x own out ready 0 0 0 -\n"), true},
    {SLICE_INIT(HEAD "node a x own filling ready 1 2 3 256\nnode b x own out ready 0 0 0 -\n"),
     false},
    {SLICE_INIT(HEAD "node a x own complete ready 1 2 3 7\nnode b x own out ready 0 0 0 -\n"),
     false},
    {SLICE_INIT(HEAD "node a x own whole ready 1 2 3 -\nnode b x own out ready 0 0 0 -\n"), false},
    {SLICE_INIT(HEAD "node a x own complete up 1 2 3 -\nnode b x own out ready 0 0 0 -\n"), false},
    {SLICE_INIT(HEAD "node a x own complete ready 1 2 -\nnode b x own out ready 0 0 0 -\n"), false},
    {SLICE_INIT(HEAD "node a x own complete ready -1 2 3 -\nnode b x own out ready 0 0 0 -\n"),
     false},
    {SLICE_INIT(HEAD "node a x own complete ready 1 2 3 - \nnode b x own out ready 0 0 0 -\n"),
     false},
};

START_TEST(judges_bodies)
{
    const struct body_case *c = &body_cases[_i];
    char text[1024];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    mc_write(&w, c->body);
    mc_write(&w, SLICE("hash "));
    mc_write_hex64(&w, XXH3_64bits(c->body.ptr, c->body.len));
    mc_write(&w, SLICE("\nend\n"));
    struct view view;
    ck_assert_int_eq(view_parse(slice_of(text, w.len), &view), c->is_good);
}
END_TEST

/* The largest view there can be; one ancestor more is refused. */
START_TEST(largest_view_fits)
{
    struct fixture f;
    struct prng prng = prng_for(0);
    make_names(&f, &prng, NODES_MAX, NODE_NAME_BYTES_MAX);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        memset(f.bytes[i], '%', NODE_NAME_BYTES_MAX);
        f.bytes[i][63] = (char)(unsigned char)i;
    }
    struct view v = random_view(&prng, &f.names);
    v.epoch = UINT64_MAX;
    v.proposer = v.flush_by = v.due_by = PROXIES_MAX - 1;
    v.flush_delay_s = UINT32_MAX;
    v.ancestor_count = VIEW_ANCESTORS_MAX;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        char address[VIEW_ADDRESS_BYTES_MAX];
        memset(address, '%', sizeof address);
        v.nodes[i] = (struct view_node){.data = NODE_DATA_FILLING,
                                        .is_told = true,
                                        .admin = NODE_ADMIN_READY,
                                        .identity = {UINT64_MAX, UINT64_MAX, UINT64_MAX},
                                        .filler = PROXIES_MAX - 1};
        view_name_node(&v.nodes[i], f.nodes[i], slice_of(address, sizeof address));
    }
    view_seal(&v);
    char text[TEXT_BYTES_MAX];
    struct slice s = emit(&v, text);
    ck_assert_uint_lt(s.len, 24 * 1024);
    ck_assert_uint_le(s.len, VIEW_BYTES_MAX);
    struct view back;
    ck_assert(view_parse(s, &back));
    assert_equal(&v, &back);

    static const char extra[] = "ancestor 0000000000000000\n";
    const size_t extra_bytes = sizeof(extra) - 1;
    text[s.len] = '\0';
    char *first = strstr(text, "ancestor ");
    ck_assert_ptr_nonnull(first);
    memmove(first + extra_bytes, first, s.len - (size_t)(first - text));
    memcpy(first, extra, extra_bytes);
    ck_assert(!view_parse(slice_of(text, s.len + extra_bytes), &back));
    memset(text, 'x', sizeof(text));
    ck_assert(!view_parse(slice_of(text, VIEW_BYTES_MAX + 1), &back));
}
END_TEST

START_TEST(emit_says_when_there_is_no_room)
{
    char text[TEXT_BYTES_MAX];
    struct view v = example_view();
    size_t len = emit(&v, text).len;
    for (size_t capacity = 0; capacity <= len; capacity++) {
        struct mc_writer w = mc_writer_of(text, capacity);
        view_emit(&v, &w);
        ck_assert_int_eq(w.is_full, capacity < len);
    }
    /* It may stand behind something else. */
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    mc_write(&w, SLICE("ms key 1\r\n"));
    view_emit(&v, &w);
    struct view back;
    ck_assert(view_parse(slice_of(text + 10, w.len - 10), &back));
}
END_TEST

START_TEST(orders_views)
{
    struct view low = {.epoch = 4, .proposer = 9};
    struct view mid = {.epoch = 5, .proposer = 1};
    struct view high = {.epoch = 5, .proposer = 2};
    ck_assert_int_lt(view_compare(&low, &mid), 0);
    ck_assert_int_lt(view_compare(&mid, &high), 0);
    ck_assert_int_gt(view_compare(&high, &low), 0);
    ck_assert_int_eq(view_compare(&mid, &mid), 0);
    struct view other = {.epoch = 5, .proposer = 1, .hash = 7};
    ck_assert_int_gt(view_compare(&other, &mid), 0);
    ck_assert_int_gt(view_compare(&high, &other), 0);
    low.epoch = 0;
    mid.epoch = UINT64_MAX;
    ck_assert_int_lt(view_compare(&low, &mid), 0);
}
END_TEST

START_TEST(makes_topologies)
{
    struct view v = example_view();
    struct topology t = {.serial = 77};
    view_topology(&v, &t);
    ck_assert_uint_eq(t.serial, 77);
    ck_assert_uint_eq(t.node_seed[1], topology_hash(three[1]));
    ck_assert(slice_is_equal(slice_of(t.name[1], t.name_bytes[1]), three[1]));
    ck_assert_uint_eq(t.name_bytes[3], 0);
    ck_assert_uint_eq(t.epoch, 7);
    ck_assert_uint_eq(t.view_hash, v.hash);
    ck_assert_uint_eq(t.node_count, 3);
    ck_assert_uint_eq(t.complete, 4);
    ck_assert_uint_eq(t.leaders, 4);
    ck_assert_uint_eq(t.chained, 1);
    ck_assert(!t.is_lone && !t.is_holding && !t.is_young && t.has_tokens);
    ck_assert(identity_is_equal(&t.identity[2], &v.nodes[2].identity));

    /* Drained while another complete one is ready; then it is all there is. */
    v.nodes[1].data = NODE_DATA_COMPLETE;
    view_topology(&v, &t);
    ck_assert_uint_eq(t.complete, 6);
    ck_assert_uint_eq(t.leaders, 4);
    v.nodes[2].admin = NODE_ADMIN_DRAIN;
    v.nodes[0].data = NODE_DATA_WARMING;
    v.is_young = true;
    v.flush_by = 0;
    view_topology(&v, &t);
    ck_assert_uint_eq(t.leaders, 6);
    ck_assert_uint_eq(t.chained, 1);
    ck_assert(t.is_holding && t.is_young);

    struct view lone = {.epoch = 1,
                        .alone = VIEW_NO_PROXY,
                        .flush_by = VIEW_NO_PROXY,
                        .due_by = VIEW_NO_PROXY,
                        .members = 1};
    view_topology(&lone, &t);
    ck_assert(t.is_lone && !t.is_holding);
    ck_assert_uint_eq(t.leaders, 1);
    lone.nodes[0].data = NODE_DATA_OUT;
    view_topology(&lone, &t);
    ck_assert_uint_eq(t.leaders | t.complete | t.chained, 0);
}
END_TEST

START_TEST(writes_keys)
{
    char text[MC_KEY_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    view_key_view(&three_names, &w);
    mc_write(&w, SLICE(" "));
    view_key_heartbeat(&three_names, 0, &w);
    mc_write(&w, SLICE(" "));
    view_key_id(&three_names, PROXIES_MAX - 1, &w);
    ck_assert(
        slice_is_equal(slice_of(text, w.len), SLICE("_everwarm:1:main:view _everwarm:1:main:hb:0 "
                                                    "_everwarm:1:main:id:255")));
}
END_TEST

START_TEST(keeps_ids)
{
    char text[VIEW_ID_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    view_id_emit(UINT64_C(0x00c0ffee12345678), &w);
    struct slice s = slice_of(text, w.len);
    ck_assert(slice_is_equal(s, SLICE("everwarm-id 1\nnonce 00c0ffee12345678\nend\n")));
    uint64_t nonce = 0;
    ck_assert(view_id_parse(s, &nonce));
    ck_assert_uint_eq(nonce, UINT64_C(0x00c0ffee12345678));
    for (size_t len = 0; len < s.len; len++) {
        ck_assert(!view_id_parse(slice_of(text, len), &nonce));
    }
    for (size_t at = 0; at < s.len; at++) {
        char was = text[at];
        for (unsigned byte = 0; byte < 256; byte++) {
            text[at] = (char)(unsigned char)byte;
            char again[VIEW_ID_BYTES_MAX];
            w = mc_writer_of(again, sizeof(again));
            uint64_t other = 0;
            if (view_id_parse(s, &other)) {
                view_id_emit(other, &w);
                ck_assert(slice_is_equal(slice_of(again, w.len), s));
            }
        }
        text[at] = was;
    }
}
END_TEST

/* --- Heartbeat --- */

static struct slice emit_heartbeat(const struct heartbeat *heartbeat,
                                   const struct view_names *names, char *to)
{
    struct mc_writer w = mc_writer_of(to, HEARTBEAT_BYTES_MAX);
    heartbeat_emit(heartbeat, names, &w);
    ck_assert(!w.is_full);
    return slice_of(to, w.len);
}

static struct heartbeat random_heartbeat(struct prng *prng, uint32_t node_count)
{
    return (struct heartbeat){.id = (uint32_t)prng_below(prng, PROXIES_MAX),
                              .nonce = any_number(prng),
                              .sequence = any_number(prng),
                              .epoch = any_number(prng),
                              .view_hash = any_number(prng),
                              .config_hash = any_number(prng),
                              .effective_hash = any_number(prng),
                              .clock_ceiling = any_number(prng),
                              .given_up = (node_set)any_number(prng) & node_set_all(node_count)};
}

static void assert_same_heartbeat(const struct heartbeat *a, const struct heartbeat *b)
{
    ck_assert_uint_eq(a->id, b->id);
    ck_assert_uint_eq(a->nonce, b->nonce);
    ck_assert_uint_eq(a->sequence, b->sequence);
    ck_assert_uint_eq(a->epoch, b->epoch);
    ck_assert_uint_eq(a->view_hash, b->view_hash);
    ck_assert_uint_eq(a->effective_hash, b->effective_hash);
    ck_assert_uint_eq(a->config_hash, b->config_hash);
    ck_assert_uint_eq(a->clock_ceiling, b->clock_ceiling);
    ck_assert_uint_eq(a->given_up, b->given_up);
}

START_TEST(heartbeat_writes_the_example)
{
    const struct heartbeat h = {.id = 3,
                                .nonce = UINT64_C(0x5ca1ab1e00c0ffee),
                                .sequence = 1234,
                                .epoch = 7,
                                .view_hash = UINT64_C(0x0123456789abcdef),
                                .effective_hash = UINT64_C(0x0123456789abcdef),
                                .config_hash = UINT64_C(0xfedcba9876543210),
                                .given_up = 3};
    char text[HEARTBEAT_BYTES_MAX];
    struct slice s = emit_heartbeat(&h, &three_names, text);
    ck_assert_msg(slice_is_equal(s, SLICE("everwarm-heartbeat 1\n"
                                          "id 3\n"
                                          "nonce 5ca1ab1e00c0ffee\n"
                                          "sequence 1234\n"
                                          "epoch 7\n"
                                          "view 0123456789abcdef\n"
                                          "effective 0123456789abcdef\n"
                                          "config fedcba9876543210\n"
                                          "clock 0\n"
                                          "given-up 10.0.0.2:11211\n"
                                          "given-up cache%251\n"
                                          "end\n")),
                  "got:\n%.*s", (int)s.len, s.ptr);
}
END_TEST

START_TEST(heartbeat_reads_what_it_writes)
{
    struct prng prng = prng_for(_i);
    struct fixture f;
    make_names(&f, &prng, (uint32_t)prng_below(&prng, NODES_MAX) + 1,
               prng_below(&prng, NODE_NAME_BYTES_MAX) + 1);
    struct heartbeat h = random_heartbeat(&prng, f.names.node_count);
    char text[HEARTBEAT_BYTES_MAX];
    struct guarded g = guarded_create(HEARTBEAT_BYTES_MAX);
    struct slice s = emit_heartbeat(&h, &f.names, text);
    struct heartbeat back;
    ck_assert(heartbeat_parse(guarded_place(&g, s), &f.names, &back));
    assert_same_heartbeat(&h, &back);
    for (size_t len = 0; len < s.len; len++) {
        ck_assert(!heartbeat_parse(guarded_place(&g, slice_of(s.ptr, len)), &f.names, &back));
    }
    guarded_destroy(&g);
}
END_TEST

/* A name that is changed may become one that nobody knows, and is passed over. */
START_TEST(heartbeat_takes_only_what_it_would_write)
{
    struct prng prng = prng_for(_i);
    struct heartbeat h = random_heartbeat(&prng, 3);
    h.given_up = 7;
    char text[HEARTBEAT_BYTES_MAX];
    char again[HEARTBEAT_BYTES_MAX];
    struct guarded g = guarded_create(HEARTBEAT_BYTES_MAX);
    struct slice s = guarded_place(&g, emit_heartbeat(&h, &three_names, text));
    char *bytes = g.end - s.len;
    for (size_t at = 0; at < s.len; at++) {
        char was = bytes[at];
        for (unsigned byte = 0; byte < 256; byte++) {
            bytes[at] = (char)(unsigned char)byte;
            struct heartbeat back;
            if (heartbeat_parse(s, &three_names, &back) && back.given_up == h.given_up) {
                ck_assert_uint_lt(back.id, PROXIES_MAX);
                ck_assert(slice_is_equal(emit_heartbeat(&back, &three_names, again), s));
            }
        }
        bytes[at] = was;
    }
    guarded_destroy(&g);
}
END_TEST

#define BEAT                                                                                       \
    "nonce 0000000000000001\nsequence 1\nepoch 0\nview 0000000000000000\n"                         \
    "effective 0000000000000000\nconfig 0000000000000000\nclock 0\n"

struct heartbeat_case {
    struct slice text;
    bool is_good;
    node_set given_up;
};

static const struct heartbeat_case heartbeat_cases[] = {
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "end\n"), true, 0},
    {SLICE_INIT("everwarm-heartbeat 2\nid 0\n" BEAT "end\n"), false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 255\n" BEAT "given-up cache%251\nend\n"), true, 2},
    {SLICE_INIT("everwarm-heartbeat 1\nid 256\n" BEAT "end\n"), false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid -\n" BEAT "end\n"), false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up nobody\nend\n"), true, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up cache%251\ngiven-up nobody\nend\n"),
     true, 2},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up nobody\ngiven-up cache%251\nend\n"),
     false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up nobody\ngiven-up nobody\nend\n"),
     false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up \nend\n"), false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up a%2\nend\n"), false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up a%\nend\n"), false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up a%2g\nend\n"), false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "given-up a b\nend\n"), false, 0},
    {SLICE_INIT("everwarm-heartbeat 1\nid 0\n" BEAT "end\nend\n"), false, 0},
};

START_TEST(heartbeat_judges_texts)
{
    const struct heartbeat_case *c = &heartbeat_cases[_i];
    struct heartbeat h;
    ck_assert_int_eq(heartbeat_parse(c->text, &three_names, &h), c->is_good);
    if (c->is_good) {
        ck_assert_uint_eq(h.given_up, c->given_up);
    }
}
END_TEST

START_TEST(largest_heartbeat_fits)
{
    struct fixture f;
    struct prng prng = prng_for(0);
    make_names(&f, &prng, NODES_MAX, NODE_NAME_BYTES_MAX);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        memset(f.bytes[i] + 1, '%', NODE_NAME_BYTES_MAX - 1);
        f.bytes[i][0] = (char)(unsigned char)(128 + i);
    }
    const struct heartbeat h = {.id = PROXIES_MAX - 1,
                                .nonce = UINT64_MAX,
                                .sequence = UINT64_MAX,
                                .epoch = UINT64_MAX,
                                .view_hash = UINT64_MAX,
                                .effective_hash = UINT64_MAX,
                                .config_hash = UINT64_MAX,
                                .clock_ceiling = UINT64_MAX,
                                .given_up = node_set_all(NODES_MAX)};
    char text[HEARTBEAT_BYTES_MAX];
    struct slice s = emit_heartbeat(&h, &f.names, text);
    ck_assert_uint_lt(s.len, 7 * 1024);
    struct heartbeat back;
    ck_assert(heartbeat_parse(s, &f.names, &back));
    assert_same_heartbeat(&h, &back);
}
END_TEST

/* --- Words --- */

START_TEST(has_a_word_for_each)
{
    for (int i = 0; i < TRACE_TYPE_COUNT; i++) {
        ck_assert_uint_gt(strlen(trace_word((enum trace_type)i)), 0);
    }
    ck_assert_str_eq(trace_word(TRACE_NODE_UP), "node-up");
    ck_assert_str_eq(trace_word(TRACE_POOL_MISMATCH), "pool-mismatch");
    ck_assert_str_eq(wire_end_text(WIRE_END_EOF), "closed by the node");
    ck_assert_str_eq(wire_end_text(WIRE_END_REFUSED), "connection refused");
    ck_assert_str_eq(wire_end_text(WIRE_END_OUT), "the node is out of the view");
}
END_TEST

int main(void)
{
    const char *given = getenv("TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000003;
    (void)printf("TEST_SEED=%" PRIu64 "\n", seed);
    (void)fflush(stdout);

    Suite *suite = suite_create("core/view");
    TCase *view = tcase_create("view");
    tcase_set_timeout(view, 60);
    tcase_add_test(view, writes_the_example);
    tcase_add_loop_test(view, reads_what_it_writes, 0, ROUNDS);
    tcase_add_loop_test(view, places_are_no_matter, 0, ROUNDS);
    tcase_add_test(view, nodes_come_and_go);
    tcase_add_loop_test(view, refuses_every_prefix, 0, MUTATED_ROUNDS);
    tcase_add_loop_test(view, refuses_every_changed_byte, 0, MUTATED_ROUNDS);
    tcase_add_loop_test(view, takes_only_what_it_would_write, 0, MUTATED_ROUNDS);
    tcase_add_loop_test(view, judges_bodies, 0, (int)(sizeof(body_cases) / sizeof(body_cases[0])));
    tcase_add_test(view, largest_view_fits);
    tcase_add_test(view, emit_says_when_there_is_no_room);
    tcase_add_test(view, orders_views);
    tcase_add_test(view, makes_topologies);
    tcase_add_test(view, writes_keys);
    tcase_add_test(view, keeps_ids);
    suite_add_tcase(suite, view);
    TCase *heartbeat = tcase_create("heartbeat");
    tcase_set_timeout(heartbeat, 60);
    tcase_add_test(heartbeat, heartbeat_writes_the_example);
    tcase_add_loop_test(heartbeat, heartbeat_reads_what_it_writes, 0, ROUNDS / 10);
    tcase_add_loop_test(heartbeat, heartbeat_takes_only_what_it_would_write, 0, MUTATED_ROUNDS);
    tcase_add_loop_test(heartbeat, heartbeat_judges_texts, 0,
                        (int)(sizeof(heartbeat_cases) / sizeof(heartbeat_cases[0])));
    tcase_add_test(heartbeat, largest_heartbeat_fits);
    suite_add_tcase(suite, heartbeat);
    TCase *words = tcase_create("words");
    tcase_add_test(words, has_a_word_for_each);
    suite_add_tcase(suite, words);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
