/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting and stopping the server: at most two listeners, each an MHD daemon with one thread per
 * connection, so that a command that waits for control keeps nobody else waiting. The sockets are
 * opened here and not by the library, for plain errors and to know the port.
 *
 * Only this machine's own users reach a loopback port, and only a unix socket's owner and group
 * reach that; anything wider is refused without tokens.
 */
#include "everwarm/admin/admin.h"
#include "everwarm/shell/inherit.h"

#include "context.h"
#include "http.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    ADMIN_MAGIC = 0x41444d4e,
    /* A few people, pages and scrapers, and as many again that mean no good before somebody who
     * wants to know what is the matter waits for them; each costs a thread. */
    CONNECTIONS_MAX = 192,
    /* For a head or a body to go on, and for an idle connection to be used again. */
    IDLE_TIMEOUT_S = 10,
    /* A connection's buffers; a head that does not fit in is answered 431. */
    CONNECTION_BYTES_MAX = 32 << 10,
    /* Our own frames are small: snapshots and texts are on the heap. The JSON parser takes about
     * 200 KiB for the deepest nesting that it allows; sanitizers take as much again. */
    STACK_BYTES = 1 << 20,
    /* Of all its threads, the lowest there is: all that may be there together get less than three
     * times what one thread of the data port gets of a processor that they all want. One
     * that is free they have to themselves. */
    NICENESS = 19,
    /* Of the unix socket: its owner's and group's. */
    SOCKET_MODE = 0660,
    HOST_BYTES_MAX = NODE_ADDRESS_BYTES_MAX,
    URL_BYTES_MAX = HOST_BYTES_MAX + 48,
};

enum site { SITE_TCP, SITE_UNIX, SITE_COUNT };

struct admin {
    unsigned int magic;
    struct context context;
    struct inherit *inherit;   /* while it starts; NULL: none */
    char host[HOST_BYTES_MAX]; /* as in the options */
    char url[URL_BYTES_MAX];
    char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* empty: none of ours to unlink */
    struct http_site sites[SITE_COUNT];
    struct MHD_Daemon *daemons[SITE_COUNT]; /* NULL: does not listen */
};

_Static_assert((int)PATIENCE_CONNECTIONS_MAX == (int)SITE_COUNT * (int)CONNECTIONS_MAX,
               "each connection has its place in the table of those that owe a head");

struct complaint {
    char *text;
    size_t bytes;
};

static enum status complain(const struct complaint *complaint, enum status status,
                            const char *where, const char *what)
{
    (void)snprintf(complaint->text, complaint->bytes, "admin: %s: %s", where, what);
    return status;
}

/* "host:port" and "[v6]:port", in two strings; false: neither. */
static bool split(const char *text, char host[HOST_BYTES_MAX], const char **port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1)) {
        return false;
    }
    size_t len = (size_t)(colon - text);
    if (text[0] == '[') {
        if (len < 2 || text[len - 1] != ']') {
            return false;
        }
        text++;
        len -= 2;
    }
    if (len == 0 || len >= HOST_BYTES_MAX) {
        return false;
    }
    memcpy(host, text, len);
    host[len] = '\0';
    *port = colon + 1;
    return true;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof(v4));
        return ntohl(v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        return memcmp(&v6.sin6_addr, &in6addr_loopback, sizeof(v6.sin6_addr)) == 0;
    }
    return false;
}

/* Bind and listen; -1 with errno. */
static int open_listener(const struct sockaddr *address, socklen_t bytes)
{
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    const int on = 1;
    if (address->sa_family == AF_UNIX && fchmod(fd, SOCKET_MODE) < 0) {
        goto close_fd; /* before there is a file that others could open */
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, address, bytes) < 0 || listen(fd, CONNECTIONS_MAX) < 0) {
        goto close_fd;
    }
    return fd;

close_fd:;
    const int kept = errno;
    (void)close(fd);
    errno = kept;
    return -1;
}

/* One that the service manager holds; false: it has none such. */
static bool claim(struct admin *admin, const struct sockaddr *address, int *out)
{
    return admin->inherit != NULL && inherit_claim(admin->inherit, address, out, 1) == 1;
}

static enum status note_url(struct admin *admin, const char *where, int fd,
                            const struct complaint *complaint)
{
    struct sockaddr_storage bound;
    socklen_t bytes = sizeof(bound);
    char port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&bound, &bytes) < 0 ||
        getnameinfo((const struct sockaddr *)&bound, bytes, NULL, 0, port, sizeof(port),
                    NI_NUMERICSERV) != 0) {
        return complain(complaint, STATUS_SYSTEM, where, "the port it got can't be found out");
    }
    const bool is_v6 = strchr(admin->host, ':') != NULL;
    (void)snprintf(admin->url, sizeof(admin->url), "http://%s%s%s:%s", is_v6 ? "[" : "",
                   admin->host, is_v6 ? "]" : "", port);
    return STATUS_OK;
}

static enum status open_tcp(struct admin *admin, const char *where, int *out,
                            const struct complaint *complaint)
{
    const char *port = NULL;
    if (!split(where, admin->host, &port)) {
        return complain(complaint, STATUS_BAD_CONFIG, where,
                        "not an address: write HOST:PORT or [V6]:PORT");
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    const int failure = getaddrinfo(admin->host, port, &hints, &found);
    if (failure != 0) {
        return complain(complaint, STATUS_BAD_CONFIG, where, gai_strerror(failure));
    }
    enum status status = STATUS_OK;
    admin->sites[SITE_TCP].gate.is_public = !is_loopback(found->ai_addr);
    if (!is_loopback(found->ai_addr) && !tokens_are_asked_for(&admin->context.tokens)) {
        status = complain(complaint, STATUS_BAD_CONFIG, where,
                          "others could reach it, and there are no tokens: set admin.tokens, or "
                          "use 127.0.0.1");
        goto free_found;
    }
    if (!claim(admin, found->ai_addr, out)) {
        *out = open_listener(found->ai_addr, found->ai_addrlen);
    }
    if (*out < 0) {
        status = complain(complaint, STATUS_SYSTEM, where, strerrordesc_np(errno));
        goto free_found;
    }
    status = note_url(admin, where, *out, complaint);
    if (status != STATUS_OK) {
        (void)close(*out);
    }
free_found:
    freeaddrinfo(found);
    return status;
}

/* Whether a socket file was left by a process that is no more. */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat found;
    if (lstat(address->sun_path, &found) < 0 || !S_ISSOCK(found.st_mode)) {
        return false;
    }
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    const bool is_refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
                            errno == ECONNREFUSED;
    (void)close(fd);
    return is_refused;
}

static enum status open_unix(struct admin *admin, const char *where, int *out,
                             const struct complaint *complaint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t len = strlen(where);
    if (len == 0 || len >= sizeof(address.sun_path)) {
        return complain(complaint, STATUS_BAD_CONFIG, where, "a socket's path has 1 to 107 bytes");
    }
    memcpy(address.sun_path, where, len + 1);
    if (claim(admin, (const struct sockaddr *)&address, out)) {
        return STATUS_OK; /* the file and who may open it are the service manager's */
    }
    *out = open_listener((const struct sockaddr *)&address, sizeof(address));
    if (*out < 0 && errno == EADDRINUSE && is_stale(&address) && unlink(where) == 0) {
        *out = open_listener((const struct sockaddr *)&address, sizeof(address));
    }
    if (*out < 0) {
        return complain(complaint, STATUS_SYSTEM, where, strerrordesc_np(errno));
    }
    memcpy(admin->socket, where, len + 1);
    if (chmod(where, SOCKET_MODE) < 0) { /* the umask may have taken the group's part */
        const int kept = errno;
        (void)close(*out);
        return complain(complaint, STATUS_SYSTEM, where, strerrordesc_np(kept));
    }
    return STATUS_OK;
}

struct start {
    struct admin *admin;
    enum site site;
    int fd;
    struct MHD_Daemon *daemon; /* NULL: it could not be had */
};

/*
 * The library's threads are the children of the one that starts it, so they are born as this one
 * makes itself: with all signals blocked, which are main's, and with less of the processor than
 * those of the data port, however many they are. (A thread that made itself lowly may not go back.)
 */
static void *start_daemon(void *arg)
{
    struct start *start = arg;
    struct admin *admin = start->admin;
    sigset_t all;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL);
    (void)pthread_setname_np(pthread_self(), "admin");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
    start->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
            MHD_USE_ITC,
        0, NULL, NULL, http_answer, &admin->sites[start->site], MHD_OPTION_LISTEN_SOCKET, start->fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned int)IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES_MAX, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, http_keep_escapes, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, http_completed, &admin->context.patience,
        MHD_OPTION_NOTIFY_CONNECTION, patience_on_connection, &admin->context.patience,
        MHD_OPTION_END);
    return NULL;
}

/* Takes FD. */
static enum status serve(struct admin *admin, enum site site, int fd)
{
    struct start start = {.admin = admin, .site = site, .fd = fd};
    pthread_t thread;
    if (pthread_create(&thread, NULL, start_daemon, &start) != 0) {
        (void)close(fd);
        return STATUS_SYSTEM;
    }
    (void)pthread_join(thread, NULL);
    if (start.daemon == NULL) {
        return STATUS_SYSTEM; /* the library may have closed FD already, or not: it does not say */
    }
    admin->daemons[site] = start.daemon;
    return STATUS_OK;
}

static enum status start_sites(struct admin *admin, const struct admin_options *options,
                               const struct complaint *complaint)
{
    int fd = -1;
    if (options->listen != NULL) {
        enum status status = open_tcp(admin, options->listen, &fd, complaint);
        if (status != STATUS_OK) {
            return status;
        }
        if (serve(admin, SITE_TCP, fd) != STATUS_OK) {
            return complain(complaint, STATUS_SYSTEM, options->listen, "no thread could be had");
        }
    }
    if (options->socket != NULL) {
        enum status status = open_unix(admin, options->socket, &fd, complaint);
        if (status != STATUS_OK) {
            return status;
        }
        if (serve(admin, SITE_UNIX, fd) != STATUS_OK) {
            return complain(complaint, STATUS_SYSTEM, options->socket, "no thread could be had");
        }
    }
    return STATUS_OK;
}

static void look_at_heads(void *closure)
{
    patience_look(closure);
}

enum status admin_start(const struct admin_options *options, struct control_port *port,
                        struct admin **out, char *error, size_t error_bytes)
{
    REQUIRE(port != NULL);
    const struct complaint complaint = {.text = error, .bytes = error_bytes};
    *out = NULL;
    struct admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL) {
        return complain(&complaint, STATUS_NO_MEMORY, "start", "out of memory");
    }
    admin->magic = ADMIN_MAGIC;
    admin->context.port = port;
    admin->inherit = options->inherit;
    patience_init(&admin->context.patience);
    INVARIANT(sem_init(&admin->context.looks, 0, CONTEXT_LOOKS_MAX) == 0);
    enum status status = tokens_init(&admin->context.tokens, options->tokens, error, error_bytes);
    if (status != STATUS_OK) {
        goto free_admin;
    }
    status = words_start(&admin->context.words, &(struct words_options){
                                                    .port = port,
                                                    .state_path = options->state,
                                                    .on_tick = look_at_heads,
                                                    .closure = &admin->context.patience,
                                                });
    if (status != STATUS_OK) {
        (void)complain(&complaint, status, "start", "no thread could be had");
        goto fini_tokens;
    }
    for (int i = 0; i < SITE_COUNT; i++) {
        admin->sites[i] = (struct http_site){.context = &admin->context};
    }
    admin->sites[SITE_TCP].gate.host = admin->host;
    if (options->tokens != NULL) {
        admin->sites[SITE_TCP].gate.tokens = &admin->context.tokens;
    }
    status = start_sites(admin, options, &complaint);
    if (status != STATUS_OK) {
        admin_stop(&admin);
        return status;
    }
    *out = admin;
    return STATUS_OK;

fini_tokens:
    tokens_fini(&admin->context.tokens);
free_admin:
    (void)sem_destroy(&admin->context.looks);
    patience_fini(&admin->context.patience);
    free(admin);
    return status;
}

const char *admin_url(const struct admin *admin)
{
    REQUIRE(admin != NULL && admin->magic == ADMIN_MAGIC);
    return admin->url;
}

enum status admin_reload(struct admin *admin, char *error, size_t error_bytes)
{
    REQUIRE(admin != NULL && admin->magic == ADMIN_MAGIC);
    return tokens_reload(&admin->context.tokens, error, error_bytes);
}

void admin_stop(struct admin **admin)
{
    struct admin *stopped = *admin;
    if (stopped == NULL) {
        return;
    }
    REQUIRE(stopped->magic == ADMIN_MAGIC);
    control_port_close_events(stopped->context.port);
    for (int i = 0; i < SITE_COUNT; i++) {
        if (stopped->daemons[i] != NULL) {
            MHD_stop_daemon(stopped->daemons[i]);
        }
    }
    words_stop(&stopped->context.words);
    tokens_fini(&stopped->context.tokens);
    (void)sem_destroy(&stopped->context.looks);
    patience_fini(&stopped->context.patience);
    if (stopped->socket[0] != '\0') {
        (void)unlink(stopped->socket);
    }
    stopped->magic = 0;
    free(stopped);
    *admin = NULL;
}
