/* SPDX-License-Identifier: BSD-2-Clause */
/* What doctor finds: each rule alone, at its threshold and below. */
#include "ctl/finding.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* A proxy that is fine, of two nodes. */
static const char FINE[] =
    "{'state':'running','time':'2026-01-01T12:00:00Z',"
    "'clients':{'open':1,'max':100,'rejected':{'max_clients':0,'no_fd':0}},"
    "'process':{'fds_open':10,'fds_max':100},'memory':{'used_bytes':0,'limit_bytes':100},"
    "'overload':{'loop_lag_s':0.001,'log_dropped':0},"
    "'replication':{'pools':{'main':{'state':'serving','readable':true,'factor':2,"
    "'factor_wanted':2,'young':false,'views_damaged':0,'leases_lapsed':0}}},"
    "'nodes':{'a':{'name':'a','address':'10.0.0.1:11211','admin':{'state':'ready'},"
    "'oper':{'state':'up','transitions_1h':1},'data':{'state':'complete'},"
    "'check':{'text':'VERSION'},'traffic':{'requests':1000,'errors':{'timeout':0,'protocol':0}}},"
    "'b':{'name':'b','address':'10.0.0.2:11211','admin':{'state':'ready'},"
    "'oper':{'state':'up','transitions_1h':1},'data':{'state':'complete'},"
    "'check':{'text':'VERSION'},'traffic':{'requests':1000,'errors':{'timeout':0,'protocol':0}}}}}";

enum { NOW_S = 1767268800 }; /* 2026-01-01T12:00:00Z */

static json_t *load(const char *text)
{
    char copy[4096];
    (void)snprintf(copy, sizeof(copy), "%s", text);
    for (char *c = copy; *c != '\0'; c++) {
        *c = (char)(*c == '\'' ? '"' : *c);
    }
    json_error_t error;
    json_t *json = json_loads(copy, 0, &error);
    ck_assert_msg(json != NULL, "%s at %d", error.text, error.position);
    return json;
}

/* FINE with CHANGE merged into it. */
static void collect(const char *change, struct findings *out)
{
    json_t *stats = load(FINE);
    json_t *other = load(change);
    ck_assert_int_eq(json_object_update_recursive(stats, other), 0);
    finding_collect(stats, "everwarmctl", NOW_S, out);
    json_decref(other);
    json_decref(stats);
}

struct rule {
    const char *change;
    const char *severity; /* NULL: nothing is found */
    const char *text;     /* in the first finding */
    const char *fix;
};

static const struct rule rules[] = {
    {"{}", NULL, NULL, NULL},
    {"{'state':'drained'}", "warning", "drained", "everwarmctl proxy-undrain"},
    {"{'state':'draining'}", "warning", "about to end", "start it again"},
    {"{'state':'starting'}", "critical", "still starting", "status"},
    {"{'clients':{'open':79}}", NULL, NULL, NULL},
    {"{'clients':{'open':80}}", "warning", "80 of at most 100", "max_clients"},
    {"{'clients':{'rejected':{'no_fd':2}}}", "note", "2 clients", "status"},
    {"{'process':{'fds_open':79}}", NULL, NULL, NULL},
    {"{'process':{'fds_open':80}}", "warning", "80% of the file descriptors", "LimitNOFILE"},
    {"{'memory':{'used_bytes':80}}", "warning", "80% of the buffers", "limits.memory"},
    {"{'overload':{'loop_lag_s':0.099}}", NULL, NULL, NULL},
    {"{'overload':{'loop_lag_s':0.2}}", "warning", "200 ms late", "threads"},
    {"{'overload':{'log_dropped':1}}", "note", "log lines", "stderr"},
    {"{'replication':{'pools':{'main':{'readable':false}}}}", "critical", "every read is a miss",
     "everwarmctl nodes"},
    {"{'replication':{'pools':{'main':{'factor':1}}}}", "critical", "last copy", "nodes"},
    {"{'replication':{'pools':{'main':{'factor':2,'factor_wanted':3}}}}", "warning", "2 of 3 nodes",
     "nodes"},
    {"{'replication':{'pools':{'main':{'factor':1,'factor_wanted':1}}}}", NULL, NULL, NULL},
    {"{'replication':{'pools':{'main':{'state':'lapsed'}}}}", "critical", "lease is over", "dmesg"},
    {"{'replication':{'pools':{'main':{'leases_lapsed':3}}}}", "note", "3 times", "load"},
    {"{'replication':{'pools':{'main':{'young':true}}}}", "note", "on trust",
     "verify --pool main --repair"},
    {"{'replication':{'pools':{'main':{'views_damaged':1}}}}", "note", "damaged views",
     "_everwarm:"},
    {"{'nodes':{'b':{'oper':{'state':'down','since':'2026-01-01T11:58:00Z'},"
     "'check':{'text':'connection refused'}}}}",
     "warning", "b at 10.0.0.2:11211 is down for 2m0s: connection refused",
     "start memcached at 10.0.0.2:11211"},
    {"{'nodes':{'b':{'oper':{'transitions_1h':5}}}}", NULL, NULL, NULL},
    {"{'nodes':{'b':{'oper':{'transitions_1h':6}}}}", "warning", "6 times", "maint b"},
    {"{'nodes':{'b':{'admin':{'state':'maint','since':'2026-01-01T11:00:01Z'}}}}", "note",
     "b is in maint for 59m59s", "everwarmctl ready b"},
    {"{'nodes':{'b':{'admin':{'state':'drain','since':'2026-01-01T11:00:00Z'}}}}", "warning",
     "b is in drain for 1h0m", "everwarmctl ready b"},
    {"{'nodes':{'b':{'admin':{'state':'drain','since':'2026-01-01T11:59:00Z','reason':'new kernel',"
     "'until':'2026-01-01T12:29:00Z'}}}}",
     "note", "b is in drain for 1m0s, and taken back in 29m0s: new kernel.", "everwarmctl ready b"},
    {"{'nodes':{'b':{'data':{'state':'filling','fill':{'eta_s':41}}}}}", "note",
     "being filled, about 41s left", "--wait"},
    {"{'nodes':{'b':{'data':{'state':'out'}}}}", "note", "waits to be filled", "--wait"},
    {"{'nodes':{'b':{'traffic':{'errors':{'timeout':9}}}}}", NULL, NULL, NULL},
    {"{'nodes':{'b':{'traffic':{'errors':{'timeout':6,'protocol':4}}}}}", "warning",
     "10 of 1000 requests", "10.0.0.2:11211"},
    {"{'nodes':{'b':{'traffic':{'requests':1001,'errors':{'timeout':10}}}}}", NULL, NULL, NULL},
};

START_TEST(finds)
{
    static struct findings found;
    const struct rule *rule = &rules[_i];
    collect(rule->change, &found);
    ck_assert_uint_eq(found.count, rule->severity == NULL ? 0 : 1);
    if (rule->severity != NULL) {
        const struct finding *first = &found.items[0];
        ck_assert_str_eq(finding_word(first->severity), rule->severity);
        ck_assert_msg(strstr(first->text, rule->text) != NULL, "%s", first->text);
        ck_assert_msg(strstr(first->fix, rule->fix) != NULL, "%s", first->fix);
    }
}
END_TEST

START_TEST(says_the_worst_first)
{
    static struct findings found;
    collect("{'overload':{'log_dropped':1},'replication':{'pools':{'main':{'factor':1}}},"
            "'nodes':{'b':{'oper':{'state':'down','since':'2026-01-01T11:58:00Z'},"
            "'data':{'state':'out'}}}}",
            &found);
    ck_assert_uint_eq(found.count, 3);
    ck_assert_int_eq(found.items[0].severity, FINDING_CRITICAL);
    ck_assert_int_eq(found.items[1].severity, FINDING_WARNING);
    ck_assert_int_eq(found.items[2].severity, FINDING_NOTE);
    ck_assert_msg(strstr(found.items[0].fix, "start memcached at 10.0.0.2:11211") != NULL, "%s",
                  found.items[0].fix);
}
END_TEST

START_TEST(suggests_the_nearest_copy)
{
    static struct findings found;
    collect("{'replication':{'pools':{'main':{'factor':1}}},"
            "'nodes':{'a':{'oper':{'state':'down'}},'b':{'data':{'state':'filling'}}}}",
            &found);
    ck_assert_msg(strstr(found.items[0].fix, "--wait 10m node b") != NULL, "%s",
                  found.items[0].fix);
    collect("{'replication':{'pools':{'main':{'factor':1}}},"
            "'nodes':{'b':{'admin':{'state':'maint'},'data':{'state':'out'}}}}",
            &found);
    ck_assert_msg(strstr(found.items[0].fix, "everwarmctl ready b") != NULL, "%s",
                  found.items[0].fix);
}
END_TEST

START_TEST(sums_up)
{
    static struct findings found;
    char verdict[FINDING_TEXT_BYTES];
    json_t *stats = load(FINE);
    collect("{}", &found);
    finding_verdict(stats, &found, verdict);
    ck_assert_str_eq(verdict, "Fine: both nodes hold everything.");
    collect("{'overload':{'log_dropped':1}}", &found); /* notes don't spoil it */
    finding_verdict(stats, &found, verdict);
    ck_assert_str_eq(verdict, "Fine: both nodes hold everything. Note: 1 log lines were dropped: "
                              "nobody read stderr in time.");
    collect("{'state':'drained'}", &found);
    finding_verdict(stats, &found, verdict);
    ck_assert_str_eq(verdict, "The proxy is drained: it says that it is not ready, and serves on.");
    json_decref(stats);
}
END_TEST

START_TEST(obeys_no_escape_of_a_node)
{
    static struct findings found;
    collect("{'nodes':{'b':{'oper':{'state':'down'},'check':{'text':'\\u001b[2J'}}}}", &found);
    ck_assert_ptr_null(strchr(found.items[0].text, '\033'));
}
END_TEST

START_TEST(keeps_its_bound)
{
    static struct findings found;
    json_t *stats = load(FINE);
    json_t *nodes = json_object_get(stats, "nodes");
    for (int i = 0; i < FINDINGS_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%d", i);
        (void)json_object_set_new(nodes, name, load("{'oper':{'state':'down'}}"));
    }
    finding_collect(stats, "everwarmctl", NOW_S, &found);
    ck_assert_uint_eq(found.count, FINDINGS_MAX);
    json_decref(stats);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ctl_finding");
    TCase *all = tcase_create("finding");
    tcase_add_loop_test(all, finds, 0, (int)(sizeof(rules) / sizeof(rules[0])));
    tcase_add_test(all, says_the_worst_first);
    tcase_add_test(all, suggests_the_nearest_copy);
    tcase_add_test(all, sums_up);
    tcase_add_test(all, obeys_no_escape_of_a_node);
    tcase_add_test(all, keeps_its_bound);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
