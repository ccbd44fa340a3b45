/* SPDX-License-Identifier: BSD-2-Clause */
/* Edits of a configuration's text: what they change, and that they change nothing else. */
#include "everwarm/config/edit.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *text;
    struct edit_node edit;
    const char *want; /* NULL: refused */
};

static const struct row ROWS[] = {
    {"{\"nodes\": [\"h:1\", \"h:2\"]}",
     {"main", "c", "h:3", NULL},
     "{\"nodes\": [\"h:1\", \"h:2\", {\"name\": \"c\", \"address\": \"h:3\"}]}"},
    {"{\n \"nodes\": [ // ours\n  \"h:1\", # one\n  \"h:2\"  // two\n ]}\n# end\n",
     {"main", "c", "h:3", "z"},
     "{\n \"nodes\": [ // ours\n  \"h:1\", # one\n  \"h:2\",\n"
     "  {\"name\": \"c\", \"address\": \"h:3\", \"zone\": \"z\"}  // two\n ]}\n# end\n"},
    {"{\"nodes\": [\"h:1\", \"h:2\", \"h:3\"]}",
     {"main", "h:1", NULL, NULL},
     "{\"nodes\": [\"h:2\", \"h:3\"]}"},
    {"{\"nodes\": [\"h:1\", \"h:2\", \"h:3\"]}",
     {"main", "h:3", NULL, NULL},
     "{\"nodes\": [\"h:1\", \"h:2\"]}"},
    {"{\"nodes\": [\"h:1\", /* no comment */ \"h:2\"]}", {"main", "h:1", NULL, NULL}, NULL},
    {"{\"nodes\": [\"h:1\", \"h:2\"]}",
     {"main", "nobody", NULL, NULL},
     "{\"nodes\": [\"h:1\", \"h:2\"]}"},
    {"{\"nodes\": [\"h:1\", \"h:2\"]}",
     {"main", "h:2", "i:2", NULL},
     "{\"nodes\": [\"h:1\", {\"name\": \"h:2\", \"address\": \"i:2\"}]}"},
    {"{\"nodes\": [{\"address\": \"h:1\", \"zone\": \"z\"}, {\"name\": \"b\", "
     "\"address\":\"h:2\"}]}",
     {"main", "b", "i:2", NULL},
     "{\"nodes\": [{\"address\": \"h:1\", \"zone\": \"z\"}, {\"name\": \"b\", "
     "\"address\":\"i:2\"}]}"},
    {"{\"nodes\": [{\"address\": \"h:1\", \"zone\": \"z\"}, \"h:2\"]}",
     {"main", "h:1", "i:1", NULL},
     "{\"nodes\": [{\"address\": \"i:1\", \"name\": \"h:1\", \"zone\": \"z\"}, \"h:2\"]}"},
    {"{\"pools\": [{\"name\": \"p\", \"listen\": [\"127.0.0.1:1\"], \"nodes\": [\"h:1\"]},"
     " {\"name\": \"q\", \"listen\": [\"127.0.0.1:2\"], \"nodes\": [\"h:2\"]}]}",
     {"q", "c", "h:3", NULL},
     "{\"pools\": [{\"name\": \"p\", \"listen\": [\"127.0.0.1:1\"], \"nodes\": [\"h:1\"]},"
     " {\"name\": \"q\", \"listen\": [\"127.0.0.1:2\"], \"nodes\": [\"h:2\", "
     "{\"name\": \"c\", \"address\": \"h:3\"}]}]}"},
    /* What would be no configuration is not written. */
    {"{\"nodes\": [\"h:1\", \"h:2\"]}", {"main", "c", "h:1", NULL}, NULL},
    {"{\"nodes\": [\"h:1\"]}", {"main", "h:1", NULL, NULL}, NULL},
    {"{\"nodes\": [\"h:1\"]}", {"other", "c", "h:3", NULL}, NULL},
    {"{\"nodes\": [\"h:1\"", {"main", "c", "h:3", NULL}, NULL},
    {"", {"main", "c", "h:3", NULL}, NULL},
};

START_TEST(changes_what_it_should)
{
    const struct row *row = &ROWS[_i];
    struct config_error error = {.message = ""};
    char *text = NULL;
    const enum status status = edit_text("f", row->text, &row->edit, &text, &error);
    if (row->want == NULL) {
        ck_assert_int_eq(status, STATUS_BAD_CONFIG);
        ck_assert_ptr_null(text);
        ck_assert_str_ne(error.message, "");
    } else {
        ck_assert_msg(status == STATUS_OK, "%s", error.message);
        ck_assert_str_eq(text, row->want);
    }
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config: edits");
    TCase *tests = tcase_create("all");
    tcase_add_loop_test(tests, changes_what_it_should, 0, sizeof(ROWS) / sizeof(ROWS[0]));
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
