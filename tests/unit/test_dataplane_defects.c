/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * S3 of the past defects (memcached 5267f14c): a value that does not end with CR LF, in a proxy
 * that has taken memory for it. Whatever its size, and whether or not an answer is wanted: no node
 * hears of it, as many bytes are swallowed as were declared, and all memory is given back.
 */
#include "dataplane_bench.h"

enum { HEAD_BYTES_MAX = 64, TAIL_BYTES_MAX = 16, SIZE_MAX_HERE = 1 << 20 };

static const char *const no_ends[] = {"xx", "\rx", "x\n", "\n\r", "\n\n", "\r\r", "\0\n", "\0\0"};

static const struct head {
    const char *before; /* the length */
    const char *behind;
    bool is_noreply;
} heads[] = {
    {"set k 0 0 ", "", false},   {"set k 0 0 ", " noreply", true},
    {"add k 0 0 ", "", false},   {"append k 0 0 ", " noreply", true},
    {"cas k 0 0 ", " 1", false}, {"ms k ", "", false},
    {"ms k ", " q", false}, /* q silences no error */
};

static char request[HEAD_BYTES_MAX + SIZE_MAX_HERE + TAIL_BYTES_MAX];

/* A store of SIZE bytes that end with END (two bytes), and a version behind it. */
static struct slice store(const struct head *head, size_t size, const char *end)
{
    size_t len =
        (size_t)snprintf(request, HEAD_BYTES_MAX, "%s%zu%s\r\n", head->before, size, head->behind);
    memset(request + len, 'v', size);
    memcpy(request + len + size, end, 2);
    memcpy(request + len + size + 2, "version\r\n", 9);
    return slice_of(request, len + size + 2 + 9);
}

static void send(struct slice bytes)
{
    step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_BYTES, .client = 0, .bytes = bytes});
}

static void expect_refused(bool is_noreply)
{
    expect_client(0, FORMAT("%sVERSION 1.6.38 everwarm/test\r\n",
                            is_noreply ? "" : "CLIENT_ERROR bad data chunk\r\n"));
    ck_assert_uint_eq(b.to_node_bytes[0] + b.to_node_bytes[1], 0);
    ck_assert_uint_le(dataplane_stats(b.dp)->memory_bytes, 3 * CHUNK_BYTES);
}

/* Whole, and in two pieces of which the second is the end that is wrong. */
static void refuse(size_t size)
{
    for (size_t h = 0; h < sizeof(heads) / sizeof(heads[0]); h++) {
        for (size_t e = 0; e < sizeof(no_ends) / sizeof(no_ends[0]); e++) {
            struct slice all = store(&heads[h], size, no_ends[e]);
            send(all);
            expect_refused(heads[h].is_noreply);
            for (size_t tail = 9; tail <= 11; tail++) {
                send(slice_of(all.ptr, all.len - tail));
                send(slice_skip(all, all.len - tail));
                expect_refused(heads[h].is_noreply);
            }
        }
    }
}

/* Around each border of what bytes are kept in: chunks, lines, what counts as large, the item
 * limit. A chunk holds the head too, so its border lies somewhat before its size. */
START_TEST(test_s3_no_end_around_every_border)
{
    static const struct {
        size_t first;
        size_t last;
    } ranges[] = {
        {0, 16},
        {MC_LINE_BYTES_MAX - 40, MC_LINE_BYTES_MAX + 3},
        {CHUNK_DATA_BYTES - 60, CHUNK_BYTES + 3},
        {2 * CHUNK_DATA_BYTES - 60, 2 * CHUNK_DATA_BYTES + 3},
        {4 * CHUNK_DATA_BYTES - 60, 4 * CHUNK_DATA_BYTES + 3},
        {MC_VALUE_LARGE_BYTES - 3, MC_VALUE_LARGE_BYTES + 3},
        {(1 << 20) - 3, 1 << 20},
    };
    for (size_t size = ranges[_i].first; size <= ranges[_i].last; size++) {
        refuse(size);
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("past defects");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, test_s3_no_end_around_every_border, 0, 7);
    Suite *suite = suite_create("dataplane, past defects");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
