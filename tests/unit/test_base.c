/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The layer that all others stand on: chunks, chains and the journal, byte ring, slab, list,
 * histogram and generator. What has many states runs against a plain model at random; TEST_SEED
 * repeats a run.
 */
#include "everwarm/base/byte_ring.h"
#include "everwarm/base/chunk.h"
#include "everwarm/base/histogram.h"
#include "everwarm/base/list.h"
#include "everwarm/base/prng.h"
#include "everwarm/base/slab.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    ROUNDS = 20,
    STEPS = 1000,
    POOL_CHUNKS = 8,
    POOL_BYTES = POOL_CHUNKS * CHUNK_BYTES,
    RING_BYTES = 64,
    OWNERS = 40,
};

static uint64_t seed;

static struct prng prng_for(int round)
{
    return (struct prng){.state = seed + (uint64_t)round};
}

static void fill_random(struct prng *prng, char *to, size_t len)
{
    for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t bytes = prng_next(prng);
        memcpy(to + i, &bytes, len - i < sizeof(bytes) ? len - i : sizeof(bytes));
    }
}

/* --- Chunks --- */

static char *pool_memory;

static void set_up_pool(void)
{
    pool_memory = aligned_alloc(16, POOL_BYTES);
    ck_assert_ptr_nonnull(pool_memory);
}

static void tear_down_pool(void)
{
    free(pool_memory);
}

START_TEST(pool_gives_all_and_takes_back)
{
    struct chunk_pool pool;
    struct chunk *chunks[POOL_CHUNKS];
    chunk_pool_init(&pool, pool_memory, POOL_BYTES + CHUNK_BYTES - 1);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < POOL_CHUNKS; i++) {
            chunks[i] = chunk_take(&pool);
            ck_assert_ptr_nonnull(chunks[i]);
            ck_assert_uint_eq((uintptr_t)chunks[i] % 16, 0);
            memset(chunks[i]->data, (int)i, CHUNK_DATA_BYTES);
            chunks[i]->used = CHUNK_DATA_BYTES;
        }
        ck_assert_ptr_null(chunk_take(&pool));
        ck_assert_uint_eq(pool.free_count, 0);
        for (size_t i = 0; i < POOL_CHUNKS; i++) {
            ck_assert_int_eq(chunks[i]->data[0], (int)i);
            ck_assert_int_eq(chunks[i]->data[CHUNK_DATA_BYTES - 1], (int)i);
            chunk_drop(&pool, chunks[i]);
        }
        ck_assert_uint_eq(pool.free_count, POOL_CHUNKS);
    }
    chunk_drop(&pool, NULL);
    chunk_pool_init(&pool, pool_memory, CHUNK_BYTES - 1);
    ck_assert_ptr_null(chunk_take(&pool));
}
END_TEST

START_TEST(last_reference_frees_the_whole_chain)
{
    struct chunk_pool pool;
    chunk_pool_init(&pool, pool_memory, POOL_BYTES);
    char *bytes = malloc(3 * CHUNK_BYTES);
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 'x', 3 * CHUNK_BYTES);
    struct chain_builder builder = {0};
    ck_assert(chain_append(&pool, &builder, slice_of(bytes, 3 * CHUNK_BYTES)));
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS - 4);
    struct chain other = builder.chain;
    other.head->refs++;
    chain_drop(&pool, &builder.chain);
    ck_assert_ptr_null(builder.chain.head);
    ck_assert_uint_eq(builder.chain.len, 0);
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS - 4);
    chain_drop(&pool, &other);
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS);
    chain_drop(&pool, &other); /* empty */
    free(bytes);
}
END_TEST

/* Slices of CHAIN from FROM on, in pieces of at most CAPACITY, put together again. */
static void assert_chain(const struct chain *chain, struct slice wanted, uint32_t from,
                         size_t capacity)
{
    struct slice pieces[POOL_CHUNKS];
    while (from < wanted.len) {
        size_t count = chain_slices(chain, from, pieces, capacity);
        ck_assert_uint_gt(count, 0);
        ck_assert_uint_le(count, capacity);
        for (size_t i = 0; i < count; i++) {
            ck_assert_uint_gt(pieces[i].len, 0);
            ck_assert_uint_le(pieces[i].len, wanted.len - from);
            ck_assert_mem_eq(pieces[i].ptr, wanted.ptr + from, pieces[i].len);
            from += (uint32_t)pieces[i].len;
        }
    }
    ck_assert_uint_eq(chain_slices(chain, from, pieces, capacity), 0);
}

START_TEST(chains_keep_their_bytes)
{
    struct prng prng = prng_for(_i);
    struct chunk_pool pool;
    chunk_pool_init(&pool, pool_memory, POOL_BYTES);
    size_t total = prng_below(&prng, POOL_CHUNKS * CHUNK_DATA_BYTES) + 1;
    char *bytes = malloc(total);
    char *copy = malloc(total);
    ck_assert(bytes != NULL && copy != NULL);
    fill_random(&prng, bytes, total);
    struct chain_builder builder = {0};
    for (size_t done = 0; done < total;) {
        size_t piece = prng_below(&prng, total - done) + 1;
        ck_assert(chain_append(&pool, &builder, slice_of(bytes + done, piece)));
        done += piece;
    }
    ck_assert_uint_eq(builder.chain.len, total);
    chain_copy(&builder.chain, copy);
    ck_assert_mem_eq(copy, bytes, total);
    for (int i = 0; i < 20; i++) {
        assert_chain(&builder.chain, slice_of(bytes, total), (uint32_t)prng_below(&prng, total + 1),
                     prng_below(&prng, POOL_CHUNKS) + 1);
    }
    /* A part of it, beginning inside the first chunk. */
    struct chain part = builder.chain;
    part.off = (uint32_t)prng_below(&prng, total < CHUNK_DATA_BYTES ? total : CHUNK_DATA_BYTES);
    part.len = (uint32_t)prng_below(&prng, total - part.off + 1);
    assert_chain(&part, slice_of(bytes + part.off, part.len), 0, POOL_CHUNKS);
    chain_copy(&part, copy);
    ck_assert_int_eq(memcmp(copy, bytes + part.off, part.len), 0);
    chain_drop(&pool, &builder.chain);
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS);
    free(copy);
    free(bytes);
}
END_TEST

START_TEST(append_says_when_the_pool_is_empty)
{
    struct chunk_pool pool;
    chunk_pool_init(&pool, pool_memory, 2 * CHUNK_BYTES);
    size_t room = 2 * (size_t)CHUNK_DATA_BYTES;
    char *bytes = malloc(room + 1);
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 'y', room + 1);
    struct chain_builder builder = {0};
    ck_assert(!chain_append(&pool, &builder, slice_of(bytes, room + 1)));
    ck_assert_uint_eq(builder.chain.len, room);
    ck_assert(chain_append(&pool, &builder, slice_of(bytes, 0)));
    ck_assert(!chain_append(&pool, &builder, slice_of(bytes, 1)));
    chain_drop(&pool, &builder.chain);
    ck_assert_uint_eq(pool.free_count, 2);
    free(bytes);
}
END_TEST

struct owner {
    struct chain chain;
    char *bytes;
};

static void leave(struct chunk_pool *pool, struct owner *owner)
{
    if (owner->bytes != NULL) {
        assert_chain(&owner->chain, slice_of(owner->bytes, owner->chain.len), 0, 1);
        chain_drop(pool, &owner->chain);
        free(owner->bytes);
        owner->bytes = NULL;
    }
}

/* Owners come and go in any order; none ever sees another's bytes. */
START_TEST(journal_keeps_owners_apart)
{
    struct prng prng = prng_for(_i);
    struct chunk_pool pool;
    chunk_pool_init(&pool, pool_memory, POOL_BYTES);
    struct journal journal = {0};
    struct owner owners[OWNERS] = {0};
    size_t refused = 0;
    for (int step = 0; step < STEPS; step++) {
        struct owner *owner = &owners[prng_below(&prng, OWNERS)];
        leave(&pool, owner);
        size_t reserved = prng_below(&prng, prng_below(&prng, 8) == 0 ? CHUNK_DATA_BYTES : 3000);
        size_t used = prng_below(&prng, reserved + 1);
        char *room = journal_reserve(&journal, &pool, reserved + 1);
        if (room == NULL) {
            refused++;
            ck_assert_uint_eq(pool.free_count, 0);
            continue;
        }
        owner->bytes = malloc(used + 1);
        ck_assert_ptr_nonnull(owner->bytes);
        fill_random(&prng, owner->bytes, used + 1);
        memcpy(room, owner->bytes, used + 1);
        owner->chain = journal_commit(&journal, used + 1);
    }
    ck_assert_uint_lt(refused, STEPS / 2);
    for (size_t i = 0; i < OWNERS; i++) {
        leave(&pool, &owners[i]);
    }
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS - 1);
    chunk_drop(&pool, journal.open);
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS);
}
END_TEST

START_TEST(journal_packs_neighbours)
{
    struct chunk_pool pool;
    chunk_pool_init(&pool, pool_memory, POOL_BYTES);
    struct journal journal = {0};
    char *first = journal_reserve(&journal, &pool, 100);
    struct chain a = journal_commit(&journal, 10);
    char *second = journal_reserve(&journal, &pool, CHUNK_DATA_BYTES - 10);
    ck_assert_ptr_eq(second, first + 10);
    struct chain b = journal_commit(&journal, 20);
    ck_assert_ptr_eq(a.head, b.head);
    ck_assert_ptr_ne(journal_reserve(&journal, &pool, CHUNK_DATA_BYTES), first);
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS - 2);
    chain_drop(&pool, &a);
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS - 2);
    chain_drop(&pool, &b);
    ck_assert_uint_eq(pool.free_count, POOL_CHUNKS - 1);
}
END_TEST

/* --- Byte ring --- */

START_TEST(ring_is_a_queue)
{
    struct prng prng = prng_for(_i);
    char memory[RING_BYTES];
    char model[RING_BYTES];
    uint32_t used = 0;
    struct byte_ring ring;
    byte_ring_init(&ring, memory, RING_BYTES);
    /* So that the counters wrap in the middle of the run. */
    ring.head = ring.tail = UINT32_MAX - 1000;
    for (int step = 0; step < STEPS; step++) {
        char bytes[RING_BYTES + 8];
        uint32_t len = (uint32_t)prng_below(&prng, sizeof(bytes) + 1);
        fill_random(&prng, bytes, len);
        bool is_put = byte_ring_put(&ring, slice_of(bytes, len));
        ck_assert_int_eq(is_put, len <= RING_BYTES - used);
        if (is_put) {
            memcpy(model + used, bytes, len);
            used += len;
        }
        ck_assert_uint_eq(byte_ring_used(&ring), used);
        ck_assert_uint_eq(byte_ring_room(&ring), RING_BYTES - used);
        struct slice pieces[2];
        uint32_t seen = 0;
        size_t count = byte_ring_slices(&ring, pieces);
        ck_assert_int_eq(count == 0, used == 0);
        for (size_t i = 0; i < count; i++) {
            ck_assert_uint_gt(pieces[i].len, 0);
            ck_assert_uint_le(pieces[i].len, used - seen);
            ck_assert_mem_eq(pieces[i].ptr, model + seen, pieces[i].len);
            seen += (uint32_t)pieces[i].len;
        }
        ck_assert_uint_eq(seen, used);
        uint32_t taken = (uint32_t)prng_below(&prng, used + 1);
        byte_ring_take(&ring, taken);
        memmove(model, model + taken, used - taken);
        used -= taken;
    }
    byte_ring_clear(&ring);
    ck_assert_uint_eq(byte_ring_used(&ring), 0);
    ck_assert(byte_ring_put(&ring, slice_of(NULL, 0)));
}
END_TEST

/* --- Slab and list --- */

struct thing {
    struct list link;
    uint64_t number;
    uint64_t rest;
};

_Static_assert(sizeof(struct thing) % 16 == 0, "a slab's objects are multiples of 16");

START_TEST(slab_gives_zeroed_objects)
{
    enum { COUNT = 5 };
    _Alignas(16) char memory[COUNT * sizeof(struct thing)];
    memset(memory, 0xee, sizeof(memory));
    struct slab slab;
    struct thing *things[COUNT];
    slab_init(&slab, memory, sizeof(struct thing), COUNT);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            things[i] = slab_take(&slab);
            ck_assert_ptr_nonnull(things[i]);
            ck_assert_uint_eq(things[i]->number | things[i]->rest, 0);
            ck_assert_ptr_null(things[i]->link.prev);
            things[i]->number = things[i]->rest = i + 1;
        }
        ck_assert_ptr_null(slab_take(&slab));
        ck_assert_uint_eq(slab.free_count, 0);
        for (size_t i = 0; i < COUNT; i++) {
            ck_assert_uint_eq(things[i]->rest, i + 1);
            slab_drop(&slab, things[i]);
        }
        ck_assert_uint_eq(slab.free_count, COUNT);
    }
    /* The one given back last comes first: it is still in the cache. */
    ck_assert_ptr_eq(slab_take(&slab), things[COUNT - 1]);
}
END_TEST

START_TEST(list_keeps_its_order)
{
    struct list list;
    struct thing things[4] = {{.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    list_init(&list);
    ck_assert(list_is_empty(&list));
    for (size_t i = 0; i < 4; i++) {
        ck_assert(!list_is_linked(&things[i].link));
        list_append(&list, &things[i].link);
        ck_assert(list_is_linked(&things[i].link));
    }
    list_remove(&things[1].link);
    list_remove(&things[1].link); /* harmless */
    ck_assert(!list_is_linked(&things[1].link));
    list_remove(&things[0].link);
    list_append(&list, &things[0].link);
    uint64_t digits = 0;
    for (struct list *at = list.next; at != &list; at = at->next) {
        digits = digits * 10 + LIST_OWNER(at, struct thing, link)->number;
    }
    ck_assert_uint_eq(digits, 341);
    digits = 0;
    for (struct list *at = list.prev; at != &list; at = at->prev) {
        digits = digits * 10 + LIST_OWNER(at, struct thing, link)->number;
    }
    ck_assert_uint_eq(digits, 143);
    list_remove(&things[0].link);
    list_remove(&things[2].link);
    list_remove(&things[3].link);
    ck_assert(list_is_empty(&list));
}
END_TEST

/* --- Histogram --- */

static void assert_bucket(uint64_t us)
{
    uint32_t bucket = histogram_bucket(us);
    ck_assert_uint_lt(bucket, HISTOGRAM_BUCKETS);
    uint64_t edge = histogram_edge_us(bucket);
    ck_assert_uint_le(edge, us);
    if (bucket + 1 < HISTOGRAM_BUCKETS) {
        ck_assert_uint_gt(histogram_edge_us(bucket + 1), us);
        ck_assert_uint_le((us - edge) * HISTOGRAM_SUB, us);
    }
}

START_TEST(buckets_are_fine_enough)
{
    for (uint64_t us = 0; us < 5000; us++) {
        assert_bucket(us);
    }
    struct prng prng = prng_for(0);
    for (int i = 0; i < 20000; i++) {
        assert_bucket(prng_next(&prng) >> prng_below(&prng, 64));
    }
    ck_assert_uint_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    /* Two minutes are still told apart from half of that. */
    ck_assert_uint_lt(histogram_bucket(UINT64_C(120000000)), HISTOGRAM_BUCKETS - 1);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        ck_assert_uint_eq(histogram_bucket(histogram_edge_us(i)), i);
    }
}
END_TEST

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(quantiles_are_close)
{
    static const uint32_t per_mille[] = {1, 10, 250, 500, 900, 990, 999, 1000};
    enum { COUNT = 5000 };
    static struct histogram halves[2];
    static uint64_t all[COUNT];
    struct prng prng = prng_for(_i);
    memset(halves, 0, sizeof(halves));
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT; i++) {
        all[i] = prng_next(&prng) >> (37 + prng_below(&prng, 27));
        sum += all[i];
        histogram_record(&halves[i % 2], all[i]);
    }
    histogram_add(&halves[0], &halves[1]);
    ck_assert_uint_eq(halves[0].count, COUNT);
    ck_assert_uint_eq(halves[0].sum_us, sum);
    qsort(all, COUNT, sizeof(all[0]), compare_numbers);
    for (size_t i = 0; i < sizeof(per_mille) / sizeof(per_mille[0]); i++) {
        uint64_t exact = all[(COUNT * (size_t)per_mille[i] + 999) / 1000 - 1];
        uint64_t got = histogram_quantile_us(&halves[0], per_mille[i]);
        ck_assert_uint_le(got, exact);
        ck_assert_uint_le((exact - got) * HISTOGRAM_SUB, exact);
    }
}
END_TEST

START_TEST(quantiles_of_few)
{
    static struct histogram h;
    memset(&h, 0, sizeof(h));
    ck_assert_uint_eq(histogram_quantile_us(&h, 0), 0);
    ck_assert_uint_eq(histogram_quantile_us(&h, 500), 0);
    ck_assert_uint_eq(histogram_quantile_us(&h, 1000), 0);
    histogram_record(&h, 17);
    ck_assert_uint_eq(histogram_quantile_us(&h, 1), 17);
    ck_assert_uint_eq(histogram_quantile_us(&h, 1000), 17);
    histogram_record(&h, UINT64_MAX - 17);
    ck_assert_uint_eq(histogram_quantile_us(&h, 500), 17);
    ck_assert_uint_eq(histogram_quantile_us(&h, 1000), histogram_edge_us(HISTOGRAM_BUCKETS - 1));
}
END_TEST

/* --- Generator --- */

START_TEST(same_seed_same_numbers)
{
    struct prng a = prng_for(0);
    struct prng b = prng_for(0);
    struct prng other = prng_for(1);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = prng_next(&a);
        ck_assert_uint_eq(number, prng_next(&b));
        same += number == prng_next(&other);
    }
    ck_assert_int_eq(same, 0);
}
END_TEST

START_TEST(numbers_stay_in_bounds)
{
    struct prng prng = prng_for(0);
    int seen[7] = {0};
    for (int i = 0; i < 7000; i++) {
        uint64_t number = prng_below(&prng, 7);
        ck_assert_uint_lt(number, 7);
        seen[number]++;
    }
    for (size_t i = 0; i < 7; i++) {
        ck_assert_int_gt(seen[i], 700);
        ck_assert_int_lt(seen[i], 1300);
    }
    uint64_t lowest = UINT64_MAX;
    uint64_t highest = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t number = prng_jitter(&prng, 1000, 20);
        lowest = number < lowest ? number : lowest;
        highest = number > highest ? number : highest;
    }
    ck_assert_uint_ge(lowest, 800);
    ck_assert_uint_lt(lowest, 810);
    ck_assert_uint_le(highest, 1200);
    ck_assert_uint_gt(highest, 1190);
    ck_assert_uint_eq(prng_jitter(&prng, 0, 50), 0);
    ck_assert_uint_eq(prng_jitter(&prng, 1000, 0), 1000);
    ck_assert_uint_eq(prng_jitter(&prng, 3, 20), 3);
    ck_assert_uint_le(prng_jitter(&prng, 10, 100), 20);
}
END_TEST

int main(void)
{
    const char *given = getenv("TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000003;
    (void)printf("TEST_SEED=%" PRIu64 "\n", seed);
    (void)fflush(stdout);

    Suite *suite = suite_create("base");
    TCase *chunks = tcase_create("chunk");
    tcase_set_timeout(chunks, 60);
    tcase_add_checked_fixture(chunks, set_up_pool, tear_down_pool);
    tcase_add_test(chunks, pool_gives_all_and_takes_back);
    tcase_add_test(chunks, last_reference_frees_the_whole_chain);
    tcase_add_loop_test(chunks, chains_keep_their_bytes, 0, ROUNDS);
    tcase_add_test(chunks, append_says_when_the_pool_is_empty);
    tcase_add_loop_test(chunks, journal_keeps_owners_apart, 0, ROUNDS);
    tcase_add_test(chunks, journal_packs_neighbours);
    suite_add_tcase(suite, chunks);
    TCase *containers = tcase_create("containers");
    tcase_add_loop_test(containers, ring_is_a_queue, 0, ROUNDS);
    tcase_add_test(containers, slab_gives_zeroed_objects);
    tcase_add_test(containers, list_keeps_its_order);
    suite_add_tcase(suite, containers);
    TCase *numbers = tcase_create("numbers");
    tcase_add_test(numbers, buckets_are_fine_enough);
    tcase_add_loop_test(numbers, quantiles_are_close, 0, ROUNDS);
    tcase_add_test(numbers, quantiles_of_few);
    tcase_add_test(numbers, same_seed_same_numbers);
    tcase_add_test(numbers, numbers_stay_in_bounds);
    suite_add_tcase(suite, numbers);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
