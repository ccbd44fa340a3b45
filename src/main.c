/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * everwarm: options in, exit status out; what is started in which order, and ended in the other.
 *
 * Exit status: 0 ended as asked, 1 could not start or go on, 2 wrong options or configuration.
 */
#include "everwarm/admin/admin.h"
#include "everwarm/base/invariant.h"
#include "everwarm/base/version.h"
#include "everwarm/config/config.h"
#include "everwarm/config/options.h"
#include "everwarm/shell/control_port.h"
#include "everwarm/shell/inherit.h"
#include "everwarm/shell/local.h"
#include "everwarm/shell/log.h"
#include "everwarm/shell/notify.h"
#include "everwarm/shell/proxy.h"
#include "everwarm/shell/signals.h"
#include "everwarm/shell/user.h"
#include "everwarm/shell/watchdog.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    ERROR_BYTES = 1024,
    /* How long the end waits for what is under way, and for the farewell to reach the nodes. */
    DRAIN_MS_MAX = 5000,
    DRAIN_STEP_MS = 20,
    /* A reload that waits for the pool ends at once then; one that waits for a name may not. */
    RELOAD_END_S_MAX = 1,
    /* Nothing to do for main but signals. */
    IDLE_MS = 60000,
};

/* What SIGHUP asks for. */
struct reload {
    pthread_mutex_t mutex; /* of these two: */
    bool is_asked;
    bool is_running;
    bool is_started; /* the thread is to be joined */
    pthread_t thread;
};

/* All that a run consists of, in the order of its start. */
struct parts {
    const struct options *options;
    struct inherit inherit;
    struct user user;
    struct local *local;
    struct config *config;
    struct proxy *proxy;
    struct admin *admin;
    struct watchdog watchdog;
    struct reload reload;
};

_Noreturn void invariant_failed(const char *kind, const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "everwarm: %s failed: %s at %s:%d; this is a bug, please report it\n",
                  kind, what, file, line);
    abort();
}

static int complain(const char *what)
{
    (void)fprintf(stderr, "everwarm: %s\n", what);
    return EXIT_FAILED;
}

/* --- What is said at the start --- */

/* A node's name as it stands in a URL. */
static void print_encoded(const char *name)
{
    for (const char *p = name; *p != '\0'; p++) {
        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
            strchr("-._~", *p) != NULL) {
            (void)putchar(*p);
        } else {
            (void)printf("%%%02X", (unsigned)(unsigned char)*p);
        }
    }
}

/* What pipes bytes to ADDRESS: curl, which is needed for the rest anyway. */
static void print_pipe(const char *address)
{
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "unix:", 5) == 0) {
        (void)printf("nc -U %s", address + 5);
    } else if (strncmp(address, "0.0.0.0:", 8) == 0) {
        (void)printf("curl -s telnet://127.0.0.1%s", colon);
    } else if (strncmp(address, "[::]:", 5) == 0) {
        (void)printf("curl -s telnet://[::1]%s", colon);
    } else {
        (void)printf("curl -s telnet://%s", address);
    }
}

static void print_addresses(const struct parts *parts)
{
    const struct config *config = parts->config;
    for (size_t i = 0; i < config->pool_count; i++) {
        for (size_t j = 0; proxy_address(parts->proxy, i, j) != NULL; j++) {
            (void)printf("  data   %-28s pool %s, %zu node%s\n", proxy_address(parts->proxy, i, j),
                         config->pools[i].name, config->pools[i].node_count,
                         config->pools[i].node_count == 1 ? "" : "s");
        }
    }
    if (parts->admin != NULL && admin_url(parts->admin)[0] != '\0') {
        (void)printf("  admin  %s\n", admin_url(parts->admin));
    }
    for (uint32_t i = 0; parts->local != NULL && i < parts->options->local_count; i++) {
        (void)printf("  node   %-28s memcached, pid %ld\n", local_addresses(parts->local)[i],
                     (long)local_pid(parts->local, i));
    }
}

static void print_banner(const struct parts *parts)
{
    (void)printf("everwarm %s serves:\n", EVERWARM_VERSION);
    print_addresses(parts);
    const char *data = proxy_address(parts->proxy, 0, 0);
    if (data != NULL) {
        (void)printf(
            "try:\n  printf 'set greeting 0 0 5\\r\\nhello\\r\\nget greeting\\r\\nquit\\r\\n'"
            " | ");
        print_pipe(data);
        (void)putchar('\n');
    }
    if (parts->admin != NULL && admin_url(parts->admin)[0] != '\0') {
        const char *url = admin_url(parts->admin);
        (void)printf("  curl %s/stats\n  curl -X POST %s/v1/nodes/", url, url);
        print_encoded(parts->config->pools[0].nodes[0].name);
        (void)printf("/drain\n");
    }
    if (parts->local != NULL) {
        (void)printf("  kill -9 %ld    # it comes back empty, and is filled before it is read\n",
                     (long)local_pid(parts->local, 0));
    }
    (void)fflush(stdout);
}

/* --- Start --- */

static int start_local(struct parts *parts)
{
    if (parts->options->local_count == 0) {
        return EXIT_OK;
    }
    char error[ERROR_BYTES];
    struct local_options local = {.count = parts->options->local_count, .user = parts->user};
    if (local_start(&local, &parts->local, error, sizeof(error)) != STATUS_OK) {
        return complain(error);
    }
    return EXIT_OK;
}

static int load_config(struct parts *parts)
{
    struct config_error error;
    const char *const *addresses = parts->local != NULL ? local_addresses(parts->local) : NULL;
    if (config_from_options(parts->options, addresses, &parts->config, &error) != STATUS_OK) {
        config_error_print(&error, stderr);
        return EXIT_USAGE;
    }
    log_configure(parts->config->log_format, parts->config->log_level);
    for (size_t i = 0; i < parts->config->warning_count; i++) {
        log_line(LOG_LEVEL_WARNING, "config", LOG_TEXT("note", parts->config->warnings[i]));
    }
    return EXIT_OK;
}

static enum status load_again(void *closure, struct config **out, struct config_error *error)
{
    const struct parts *parts = closure;
    const char *const *addresses = parts->local != NULL ? local_addresses(parts->local) : NULL;
    return config_from_options(parts->options, addresses, out, error);
}

static int start_admin(struct parts *parts)
{
    const struct config *config = parts->config;
    char listen[ADDRESS_TEXT_BYTES_MAX];
    char error[ERROR_BYTES];
    address_format(&config->admin_listen, listen);
    struct admin_options options = {
        .listen = config->admin_listen.kind == ADDRESS_NONE ? NULL : listen,
        .socket = config->admin_socket[0] == '\0' ? NULL : config->admin_socket,
        .state = config->state_file[0] == '\0' ? NULL : config->state_file,
        .tokens = config->admin_tokens[0] == '\0' ? NULL : config->admin_tokens,
        .inherit = &parts->inherit,
    };
    if (options.listen == NULL && options.socket == NULL) {
        return EXIT_OK;
    }
    if (admin_start(&options, proxy_port(parts->proxy), &parts->admin, error, sizeof(error)) !=
        STATUS_OK) {
        return complain(error);
    }
    return EXIT_OK;
}

static int start_proxy(struct parts *parts)
{
    char error[ERROR_BYTES];
    if (proxy_create(parts->config, &parts->inherit, &parts->proxy, error, sizeof(error)) !=
            STATUS_OK ||
        user_switch(&parts->user, error, sizeof(error)) != STATUS_OK) {
        return complain(error);
    }
    if (log_start() != STATUS_OK) {
        return complain("can't start a thread");
    }
    control_port_set_loader(proxy_port(parts->proxy), load_again, parts,
                            parts->options->config_path);
    int failed = start_admin(parts);
    if (failed != EXIT_OK) {
        return failed;
    }
    inherit_tell_unused(&parts->inherit);
    if (proxy_start(parts->proxy) != STATUS_OK) {
        return complain("can't start a thread");
    }
    return EXIT_OK;
}

static int start(struct parts *parts)
{
    const struct options *options = parts->options;
    char error[ERROR_BYTES];
    if (options->is_daemon && user_daemonize() != STATUS_OK) {
        return complain("can't fork");
    }
    if (geteuid() != 0 && options->user != NULL) {
        log_line(LOG_LEVEL_WARNING, "user", LOG_TEXT("note", "-u is for root alone: ignored"));
    }
    const char *user = geteuid() == 0 ? options->user : NULL;
    const char *group = geteuid() == 0 ? options->group : NULL;
    if (user_find(user, group, &parts->user, error, sizeof(error)) != STATUS_OK) {
        (void)complain(error);
        return EXIT_USAGE;
    }
    int failed = start_local(parts);
    if (failed == EXIT_OK) {
        failed = load_config(parts);
    }
    return failed == EXIT_OK ? start_proxy(parts) : failed;
}

/* --- Run and end --- */

/* What is wrong keeps the old configuration; either way the log says so. */
static void reload_once(struct parts *parts)
{
    static const struct config_error NO_MEMORY = {.message = "out of memory"};
    char error[ERROR_BYTES];
    notify_reloading();
    if (parts->admin != NULL && admin_reload(parts->admin, error, sizeof(error)) != STATUS_OK) {
        log_line(LOG_LEVEL_ERROR, "tokens", LOG_TEXT("error", error));
    }
    struct port_reload *done = malloc(sizeof(*done));
    if (done == NULL || control_port_reload(proxy_port(parts->proxy), done) != STATUS_OK) {
        config_error_format(done == NULL ? &NO_MEMORY : &done->error, error, sizeof(error));
        log_line(LOG_LEVEL_ERROR, "reload", LOG_TEXT("error", error),
                 LOG_TEXT("note", "the old configuration stays"));
    }
    free(done);
    notify_send("READY=1");
}

static void *reload_while_asked(void *arg)
{
    struct parts *parts = arg;
    struct reload *reload = &parts->reload;
    for (;;) {
        (void)pthread_mutex_lock(&reload->mutex);
        reload->is_running = reload->is_asked;
        reload->is_asked = false;
        const bool is_over = !reload->is_running;
        (void)pthread_mutex_unlock(&reload->mutex);
        if (is_over) {
            return NULL;
        }
        reload_once(parts);
    }
}

/* A thread of its own does it, for it waits: for names, and for a pool to agree. */
static void ask_for_reload(struct parts *parts)
{
    struct reload *reload = &parts->reload;
    (void)pthread_mutex_lock(&reload->mutex);
    reload->is_asked = true;
    const bool is_running = reload->is_running;
    reload->is_running = true;
    (void)pthread_mutex_unlock(&reload->mutex);
    if (is_running) {
        return; /* it looks again before it ends */
    }
    if (reload->is_started) {
        (void)pthread_join(reload->thread, NULL);
    }
    reload->is_started = pthread_create(&reload->thread, NULL, reload_while_asked, parts) == 0;
    if (!reload->is_started) {
        reload->is_running = false;
        log_line(LOG_LEVEL_ERROR, "reload", LOG_TEXT("error", "no thread could be had"));
    }
}

/* False: it still waits for something. */
static bool end_reload(struct parts *parts)
{
    struct reload *reload = &parts->reload;
    struct timespec until;
    if (!reload->is_started) {
        return true;
    }
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RELOAD_END_S_MAX;
    reload->is_started = pthread_timedjoin_np(reload->thread, NULL, &until) != 0;
    return !reload->is_started;
}

/* Until somebody wants us to end; whether at once or with what is under way. */
static enum signals_word supervise(struct parts *parts)
{
    for (;;) {
        uint32_t wait_ms = parts->local != NULL ? local_mend(parts->local) : IDLE_MS;
        const uint32_t watchdog_ms = watchdog_turn(&parts->watchdog, parts->proxy);
        wait_ms = wait_ms < watchdog_ms ? wait_ms : watchdog_ms;
        enum signals_word word = signals_wait(wait_ms < IDLE_MS ? wait_ms : IDLE_MS);
        switch (word) {
        case SIGNALS_DRAIN:
        case SIGNALS_NOW:
            return word;
        case SIGNALS_RELOAD:
            ask_for_reload(parts);
            break;
        case SIGNALS_REOPEN: /* logs go to stderr: whoever reads it rotates */
        case SIGNALS_CHILD:
        case SIGNALS_NONE:
            break;
        }
    }
}

static void drain(struct parts *parts)
{
    proxy_drain(parts->proxy);
    for (uint32_t waited_ms = 0; waited_ms < DRAIN_MS_MAX; waited_ms += DRAIN_STEP_MS) {
        if (proxy_is_gone(parts->proxy)) {
            return;
        }
        enum signals_word word = signals_wait(DRAIN_STEP_MS);
        if (word == SIGNALS_DRAIN || word == SIGNALS_NOW) {
            return;
        }
    }
    log_line(LOG_LEVEL_WARNING, "drain", LOG_TEXT("note", "not all was answered in time"));
}

static void stop(struct parts *parts)
{
    admin_stop(&parts->admin);
    proxy_destroy(&parts->proxy);
    local_stop(&parts->local);
    inherit_fini(&parts->inherit);
    log_stop();
    config_destroy(&parts->config);
}

static int run(const struct options *options)
{
    struct parts parts = {.options = options, .reload.mutex = PTHREAD_MUTEX_INITIALIZER};
    signals_block();
    inherit_init(&parts.inherit);
    int failed = start(&parts);
    if (failed == EXIT_OK) {
        print_banner(&parts);
        user_tell_started();
        notify_send("READY=1");
        watchdog_init(&parts.watchdog);
        enum signals_word word = supervise(&parts);
        notify_send(word == SIGNALS_DRAIN ? "STOPPING=1\nSTATUS=answering what is under way"
                                          : "STOPPING=1\nSTATUS=ending now");
        log_line(LOG_LEVEL_NOTICE, "stopping",
                 LOG_TEXT("how", word == SIGNALS_DRAIN ? "drain" : "now"));
        if (word == SIGNALS_DRAIN) {
            drain(&parts);
        }
    }
    if (!end_reload(&parts)) {
        /* In the resolver, which can't be stopped: nothing that it may look at is taken away. */
        local_stop(&parts.local);
        _exit(failed);
    }
    stop(&parts);
    return failed;
}

static int test_config(const struct options *options)
{
    struct config *config;
    struct config_error error;
    if (config_from_options(options, NULL, &config, &error) != STATUS_OK) {
        config_error_print(&error, stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < config->warning_count; i++) {
        (void)printf("note: %s\n", config->warnings[i]);
    }
    (void)printf("%s: ok\n", options->config_path != NULL ? options->config_path : "options");
    config_destroy(&config);
    return EXIT_OK;
}

int main(int argc, char *argv[])
{
    struct options options;
    struct config_error error;
    if (options_parse(argc, argv, &options, &error) != STATUS_OK) {
        config_error_print(&error, stderr);
        return EXIT_USAGE;
    }
    switch (options.action) {
    case OPTIONS_RUN:
        return run(&options);
    case OPTIONS_TEST_CONFIG:
        return test_config(&options);
    case OPTIONS_HELP:
        options_help(stdout);
        return EXIT_OK;
    case OPTIONS_HELP_CONFIG:
        config_help(stdout);
        return EXIT_OK;
    case OPTIONS_VERSION:
        (void)printf("everwarm %s\n", EVERWARM_VERSION);
        return EXIT_OK;
    }
    UNREACHABLE();
}
