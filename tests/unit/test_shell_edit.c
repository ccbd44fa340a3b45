/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration's file is replaced whole or not at all. */
#include "shell/edit_file.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(replaces_the_file_in_one_step)
{
    char folder[] = "/tmp/everwarm-edit-XXXXXX";
    char path[64];
    char link_path[64];
    char beside[80];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/c.json", folder);
    (void)snprintf(link_path, sizeof(link_path), "%s/link.json", folder);
    (void)snprintf(beside, sizeof(beside), "%s.new", path);
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs("{\"nodes\": [\"h:1\"]}\n", file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(symlink("c.json", link_path), 0);
    const struct edit_node edit = {"main", "c", "h:3", NULL};
    struct config_error error;
    ck_assert_int_eq(edit_file(link_path, &edit, &error), STATUS_OK);
    struct config *config = NULL;
    ck_assert_int_eq(config_load_file(path, &config, &error), STATUS_OK);
    ck_assert_uint_eq(config->pools[0].node_count, 2);
    ck_assert_str_eq(config->pools[0].nodes[1].name, "c");
    config_destroy(&config);
    struct stat about;
    ck_assert_int_eq(lstat(link_path, &about), 0);
    ck_assert(S_ISLNK(about.st_mode));
    ck_assert_int_eq(stat(path, &about), 0);
    ck_assert_uint_eq(about.st_mode & 0777, 0640);
    ck_assert_int_ne(access(beside, F_OK), 0);
    const struct edit_node bad = {"main", "d", "h:3", NULL};
    ck_assert_int_eq(edit_file(path, &bad, &error), STATUS_BAD_CONFIG);
    ck_assert_int_eq(edit_file("/nowhere/c.json", &edit, &error), STATUS_SYSTEM);
    ck_assert_str_ne(error.message, "");
    (void)unlink(link_path);
    (void)unlink(path);
    (void)rmdir(folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell: edits of the file");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, replaces_the_file_in_one_step);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
