/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nullmux, the null proxy: what a replicating proxy's reads, writes and wake-ups cost at least.
 *
 * It parses nothing. All requests of one kind have one length and so have their replies, given on
 * the command line; the first byte of a request tells its kind. All clients share one connection to
 * each node:
 *
 *   client ─► bytes ─► requests ─┬─► node 0 (gets and sets) ─► replies ─┐
 *                                └─► node 1.. (sets)        ─► replies ─┴─► client
 *
 * I1  Each node answers in the order asked, so node n's oldest request is the next reply's.
 * I2  A set is answered with node 0's reply, when every node has answered: node 0's replies stop at
 *     a set that others still owe.
 * I3  One write per peer and loop turn, of all that the turn produced.
 *
 * usage: nullmux PORT NODES NODE_PORT... GET_REQUEST GET_REPLY SET_REQUEST    (the last three:
 * bytes)
 *
 * A measuring tool, not a proxy: it trusts its peers, and clients are never freed.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    NODES_MAX = 4,
    READ_BYTES = 8 << 20,  /* one read; more than what 64 clients have in flight */
    IN_FLIGHT_MAX = 65536, /* requests; 800 is what the benchmarks reach */
    EVENTS_MAX = 512,
    STORED_BYTES = 8,
};

struct peer {
    int fd;
    int node; /* its number, -1: a client */
    bool is_closed;
    bool is_dirty;
    struct peer *next_dirty;
    char *in; /* an incomplete message */
    size_t in_bytes;
    size_t in_capacity;
    char *out;
    size_t out_bytes;
    size_t out_capacity;
};

struct request {
    struct peer *client;
    bool is_get;
    int owed; /* replies still to come */
};

struct node {
    struct peer peer;
    struct request **sent; /* a ring, oldest first (I1) */
    unsigned sent_first;
    unsigned sent_end;
};

static struct node nodes[NODES_MAX];
static int node_count;
static size_t get_request_bytes;
static size_t get_reply_bytes;
static size_t set_request_bytes;
static struct request requests[IN_FLIGHT_MAX];
static unsigned request_next;
static struct peer *dirty;
static int epoll_fd;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "nullmux: %s\n", what);
    exit(1);
}

static void *grown(void *memory, size_t bytes)
{
    void *new_memory = realloc(memory, bytes);
    if (new_memory == NULL) {
        die("out of memory");
    }
    return new_memory;
}

static void queue(struct peer *to, const char *bytes, size_t length)
{
    if (to->out_bytes + length > to->out_capacity) {
        to->out_capacity = (to->out_bytes + length) * 2;
        to->out = grown(to->out, to->out_capacity);
    }
    memcpy(to->out + to->out_bytes, bytes, length);
    to->out_bytes += length;
    if (!to->is_dirty) {
        to->is_dirty = true;
        to->next_dirty = dirty;
        dirty = to;
    }
}

/* I3. A peer that does not read makes us wait for it: there is no backpressure here. */
static void flush_dirty(void)
{
    while (dirty != NULL) {
        struct peer *to = dirty;
        dirty = to->next_dirty;
        to->is_dirty = false;
        size_t sent = 0;
        while (sent < to->out_bytes) {
            ssize_t n = write(to->fd, to->out + sent, to->out_bytes - sent);
            if (n < 0 && errno == EAGAIN) {
                struct pollfd wait = {.fd = to->fd, .events = POLLOUT};
                (void)poll(&wait, 1, 1000);
                continue;
            }
            if (n < 0) {
                break;
            }
            sent += (size_t)n;
        }
        to->out_bytes = 0;
    }
}

/* Takes the whole replies of NODE from the front of BYTES; returns how many bytes they were. */
static size_t take_replies(int node, const char *bytes, size_t length)
{
    struct node *from = &nodes[node];
    size_t taken = 0;
    while (taken < length && from->sent_first != from->sent_end) {
        struct request *oldest = from->sent[from->sent_first % IN_FLIGHT_MAX];
        size_t need = oldest->is_get ? get_reply_bytes : STORED_BYTES;
        if (length - taken < need) {
            break;
        }
        if (node != 0) {
            oldest->owed--;
        } else if (oldest->owed > 1) {
            break; /* I2 */
        } else if (!oldest->client->is_closed) {
            queue(oldest->client, bytes + taken, need);
        }
        from->sent_first++;
        taken += need;
    }
    return taken;
}

static size_t take_requests(struct peer *client, const char *bytes, size_t length)
{
    size_t taken = 0;
    while (taken < length) {
        bool is_get = bytes[taken] == 'g';
        size_t need = is_get ? get_request_bytes : set_request_bytes;
        if (length - taken < need) {
            break;
        }
        struct request *request = &requests[request_next++ % IN_FLIGHT_MAX];
        *request = (struct request){
            .client = client,
            .is_get = is_get,
            .owed = is_get ? 1 : node_count,
        };
        for (int i = 0; i < request->owed; i++) {
            nodes[i].sent[nodes[i].sent_end++ % IN_FLIGHT_MAX] = request;
            queue(&nodes[i].peer, bytes + taken, need);
        }
        taken += need;
    }
    return taken;
}

/* Keeps what no message has taken yet, for the next read. */
static void keep(struct peer *from, const char *bytes, size_t length)
{
    from->in_bytes = length;
    if (length == 0) {
        return;
    }
    if (from->in_capacity < length) {
        from->in = grown(from->in, length);
        from->in_capacity = length;
    }
    memmove(from->in, bytes, length);
}

static void watch(struct peer *peer, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    int one = 1;
    if (peer != NULL && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        die("TCP_NODELAY");
    }
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

static void on_readable(struct peer *from)
{
    static char in[READ_BYTES];
    if (from->in_bytes > 0) {
        memcpy(in, from->in, from->in_bytes);
    }
    ssize_t n = read(from->fd, in + from->in_bytes, sizeof in - from->in_bytes);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        if (from->node >= 0) {
            die("a node has closed its connection");
        }
        (void)close(from->fd);
        from->is_closed = true;
        return;
    }
    size_t length = from->in_bytes + (size_t)n;
    size_t taken =
        from->node < 0 ? take_requests(from, in, length) : take_replies(from->node, in, length);
    keep(from, in + taken, length - taken);

    struct peer *first = &nodes[0].peer;
    if (from->node > 0 && first->in_bytes > 0) { /* I2: what node 0's replies waited for */
        taken = take_replies(0, first->in, first->in_bytes);
        keep(first, first->in + taken, first->in_bytes - taken);
    }
}

static void on_acceptable(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    struct peer *client = grown(NULL, sizeof *client);
    *client = (struct peer){.fd = fd, .node = -1};
    watch(client, fd);
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0) {
        die("cannot listen");
    }
    return fd;
}

static void dial(int node, uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    struct node *to = &nodes[node];
    to->peer.node = node;
    to->peer.fd = socket(AF_INET, SOCK_STREAM, 0);
    to->sent = grown(NULL, IN_FLIGHT_MAX * sizeof(struct request *));
    if (to->peer.fd < 0 || connect(to->peer.fd, (struct sockaddr *)&address, sizeof address) != 0) {
        die("cannot connect to a node");
    }
    watch(&to->peer, to->peer.fd);
}

static unsigned long number(const char *text, unsigned long max)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || n < 1 || n > max) {
        die("not a number in range");
    }
    return n;
}

int main(int argc, char **argv)
{
    if (argc > 2) {
        node_count = (int)number(argv[2], NODES_MAX);
    }
    if (argc < 3 || argc != 6 + node_count) {
        die("usage: nullmux PORT NODES NODE_PORT... GET_REQUEST GET_REPLY SET_REQUEST");
    }
    get_request_bytes = number(argv[3 + node_count], READ_BYTES);
    get_reply_bytes = number(argv[4 + node_count], READ_BYTES);
    set_request_bytes = number(argv[5 + node_count], READ_BYTES);

    epoll_fd = epoll_create1(0);
    for (int i = 0; i < node_count; i++) {
        dial(i, (uint16_t)number(argv[3 + i], UINT16_MAX));
    }
    int listener = listen_on((uint16_t)number(argv[1], UINT16_MAX));
    watch(NULL, listener);

    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                on_acceptable(listener);
            } else {
                on_readable(events[i].data.ptr);
            }
        }
        flush_dirty();
    }
}
