/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lg, the load generator of the benchmarks: one thread, epoll, memcached's classic text protocol.
 *
 * Closed loop: each connection keeps -d requests in flight and sends a new one for each reply. With
 * -r it is paced instead: requests fall due at a fixed rate and their time counts from then, so
 * that a stall is not hidden by the requests it held back.
 *
 * All keys are 20 bytes and all values -v bytes, so the length of every reply is known before it
 * comes, and every reply is checked: I1 its first byte, I2 its length, I3 its end. The first wrong
 * one ends the run with status 2; so do a lost connection and two seconds without any reply.
 *
 * Prints one line of JSON: requests, rate, latency in us, and its own CPU per request.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    DEPTH_MAX = 256,             /* requests in flight of one connection */
    READ_BYTES = 262144,         /* one read; a few replies of 20 keys of 4 KiB */
    KEY_DIGITS = 14,             /* after "key:a:" */
    REQUEST_OVERHEAD_BYTES = 64, /* "set", key, numbers and line ends, with room */
    KEY_IN_GET_BYTES = 24,       /* a space and a key, with room */
    EVENTS_MAX = 512,
    STORED_BYTES = 8, /* "STORED\r\n" */
    END_BYTES = 5,    /* "END\r\n" */
    KEY_STEP = 37,    /* between the keys of one get: spread, the same for every contender */
    /* Latency: exact below 64 ns, then 32 buckets for each power of two. */
    BUCKETS = 64 * 64,
};

static const uint64_t NS_PER_S = 1000000000U;
static const uint64_t STALL_NS = 2000000000U;
static const long TICK_NS = 200000000; /* looks at the clock this often when nothing comes */

enum request_type { REQUEST_GET, REQUEST_SET };

struct pending {
    uint64_t start_ns;
    enum request_type type;
};

struct connection {
    int fd;
    bool is_write_watched;
    struct pending pending[DEPTH_MAX]; /* a ring: the oldest at pending_first % DEPTH_MAX */
    unsigned pending_first;
    unsigned pending_count;
    size_t reply_seen_bytes; /* of the oldest's reply */
    char *out;
    size_t out_sent_bytes;
    size_t out_bytes;
};

static struct {
    uint16_t port;
    unsigned connection_count;
    unsigned depth;
    size_t value_bytes;
    unsigned keys_per_get;
    uint64_t key_count;
    unsigned set_percent;
    double duration_s;
    double rate; /* requests a second; 0: closed loop */
    char prefix;
    bool is_preload; /* set every key once, then end */
} options = {
    .port = 22001,
    .connection_count = 50,
    .depth = 1,
    .value_bytes = 100,
    .keys_per_get = 1,
    .key_count = 10000,
    .set_percent = 10,
    .duration_s = 5,
    .prefix = 'a',
};

static int epoll_fd;
static struct connection *connections;
static char *value;
static size_t get_reply_bytes;
static uint64_t get_count;
static uint64_t set_count;
static uint64_t preload_next;
static uint64_t random_state = 88172645463325252U; /* fixed: every contender gets the same keys */
static uint64_t latency_buckets[BUCKETS];
static uint64_t latency_max_ns;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* One line of JSON with what went wrong; control bytes of a peer do not break it. */
static _Noreturn void die(const char *what, const char *detail, size_t detail_bytes)
{
    printf("{\"error\":\"%s", what);
    for (size_t i = 0; i < detail_bytes; i++) {
        char c = detail[i];
        putchar(c < ' ' || c > '~' || c == '"' || c == '\\' ? '~' : c);
    }
    printf("\",\"reqs\":%" PRIu64 "}\n", get_count + set_count);
    exit(2);
}

static void latency_record(uint64_t ns)
{
    size_t bucket = (size_t)ns;
    if (ns >= 64) {
        unsigned exponent = 63U - (unsigned)__builtin_clzll(ns);
        bucket = (exponent - 5U) * 32U + (size_t)((ns >> (exponent - 5U)) & 31U) + 32U;
    }
    latency_buckets[bucket]++;
    if (ns > latency_max_ns) {
        latency_max_ns = ns;
    }
}

static double latency_bucket_us(size_t bucket)
{
    uint64_t ns = bucket;
    if (bucket >= 64) {
        ns = (32U + (bucket - 32U) % 32U) << (bucket / 32U - 1U);
    }
    return (double)ns / 1000.0;
}

static double latency_quantile_us(double quantile)
{
    uint64_t target = (uint64_t)((double)(get_count + set_count) * quantile);
    uint64_t seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += latency_buckets[i];
        if (seen > target) {
            return latency_bucket_us(i);
        }
    }
    return 0;
}

/* Writes "key:a:00000000000042" and returns its end. */
static char *put_key(char *at, uint64_t key)
{
    memcpy(at, "key:", 4);
    at[4] = options.prefix;
    at[5] = ':';
    for (size_t digit = KEY_DIGITS; digit > 0; digit--) {
        at[5 + digit] = (char)('0' + key % 10);
        key /= 10;
    }
    return at + 6 + KEY_DIGITS;
}

static char *put_set(char *at, uint64_t key)
{
    memcpy(at, "set ", 4);
    at = put_key(at + 4, key);
    at += snprintf(at, REQUEST_OVERHEAD_BYTES / 2, " 0 0 %zu\r\n", options.value_bytes);
    memcpy(at, value, options.value_bytes);
    at += options.value_bytes;
    memcpy(at, "\r\n", 2);
    return at + 2;
}

static char *put_get(char *at, uint64_t key)
{
    memcpy(at, "get", 3);
    at += 3;
    for (unsigned i = 0; i < options.keys_per_get; i++) {
        *at = ' ';
        at = put_key(at + 1, (key + (uint64_t)i * KEY_STEP) % options.key_count);
    }
    memcpy(at, "\r\n", 2);
    return at + 2;
}

static void watch(struct connection *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) != 0) {
        die("epoll_ctl", "", 0);
    }
}

static void flush(struct connection *c)
{
    while (c->out_sent_bytes < c->out_bytes) {
        ssize_t n = write(c->fd, c->out + c->out_sent_bytes, c->out_bytes - c->out_sent_bytes);
        if (n < 0 && errno == EAGAIN) {
            if (!c->is_write_watched) {
                c->is_write_watched = true;
                watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            }
            return;
        }
        if (n < 0) {
            die("write", "", 0);
        }
        c->out_sent_bytes += (size_t)n;
    }
    c->out_sent_bytes = 0;
    c->out_bytes = 0;
    if (c->is_write_watched) {
        c->is_write_watched = false;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
}

/* Sends COUNT more requests, whose time counts from START_NS. */
static void send_requests(struct connection *c, unsigned count, uint64_t start_ns)
{
    for (unsigned i = 0; i < count; i++) {
        enum request_type type = REQUEST_SET;
        uint64_t key = preload_next;
        if (options.is_preload) {
            preload_next++;
            key %= options.key_count;
        } else {
            type = random_next() % 100 < options.set_percent ? REQUEST_SET : REQUEST_GET;
            key = random_next() % options.key_count;
        }
        char *at = c->out + c->out_bytes;
        char *end = type == REQUEST_SET ? put_set(at, key) : put_get(at, key);
        c->out_bytes += (size_t)(end - at);
        c->pending[(c->pending_first + c->pending_count) % DEPTH_MAX] =
            (struct pending){.start_ns = start_ns, .type = type};
        c->pending_count++;
    }
    flush(c);
}

/* Takes LENGTH bytes of replies, checks them (I1 to I3); returns how many replies they ended. */
static unsigned take_replies(struct connection *c, const char *bytes, size_t length)
{
    uint64_t now = now_ns();
    unsigned done = 0;
    const char *at = bytes;
    const char *end = bytes + length;
    while (at < end) {
        size_t left = (size_t)(end - at);
        if (c->pending_count == 0) {
            die("extra bytes: ", at, left < 40 ? left : 40);
        }
        const struct pending *oldest = &c->pending[c->pending_first % DEPTH_MAX];
        bool is_get = oldest->type == REQUEST_GET;
        if (c->reply_seen_bytes == 0 && *at != (is_get ? 'V' : 'S')) {
            die("bad reply: ", at, left < 40 ? left : 40);
        }
        size_t need = (is_get ? get_reply_bytes : STORED_BYTES) - c->reply_seen_bytes;
        if (left < need) {
            c->reply_seen_bytes += left;
            break;
        }
        at += need;
        if (at[-1] != '\n' ||
            (is_get && need >= END_BYTES && memcmp(at - END_BYTES, "END\r\n", END_BYTES) != 0)) {
            die("bad reply: ", at - need, left < 40 ? left : 40);
        }
        c->reply_seen_bytes = 0;
        latency_record(now - oldest->start_ns);
        *(is_get ? &get_count : &set_count) += 1;
        c->pending_first++;
        c->pending_count--;
        done++;
    }
    return done;
}

static void dial(struct connection *c)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(options.port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        die("connect", "", 0);
    }
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) {
        die("socket options", "", 0);
    }
    /* Twice what can be in flight: what is sent stays in front until the last byte has gone. */
    c->out = malloc((options.depth + 2U) * 2U *
                    (options.value_bytes + REQUEST_OVERHEAD_BYTES +
                     (size_t)options.keys_per_get * KEY_IN_GET_BYTES));
    if (c->out == NULL) {
        die("out of memory", "", 0);
    }
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static unsigned outstanding(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < options.connection_count; i++) {
        count += connections[i].pending_count;
    }
    return count;
}

/* Paced: sends what has fallen due since START_NS, on the next connection that has room. */
static void send_due(uint64_t start_ns, uint64_t now)
{
    static uint64_t sent;
    static unsigned turn;
    uint64_t due = (uint64_t)((double)(now - start_ns) * options.rate / (double)NS_PER_S);
    for (; sent < due; sent++) {
        unsigned tries = 0;
        struct connection *c;
        do {
            c = &connections[turn++ % options.connection_count];
            tries++;
        } while (c->pending_count >= options.depth && tries < options.connection_count);
        if (c->pending_count >= options.depth) {
            return;
        }
        send_requests(c, 1, start_ns + (uint64_t)((double)sent * (double)NS_PER_S / options.rate));
    }
}

/* One event of one connection; true when bytes came. */
static bool on_event(struct connection *c, uint32_t events, bool is_draining)
{
    static char in[READ_BYTES];
    if ((events & EPOLLOUT) != 0) {
        flush(c);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) {
        return false;
    }
    ssize_t n = read(c->fd, in, sizeof in);
    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n <= 0) {
        die(n == 0 ? "the connection was closed" : "read", "", 0);
    }
    unsigned done = take_replies(c, in, (size_t)n);
    bool is_preloaded = options.is_preload && preload_next >= options.key_count;
    if (options.rate <= 0 && done > 0 && !is_draining && !is_preloaded) {
        send_requests(c, done, now_ns());
    }
    return true;
}

static void run(uint64_t start_ns)
{
    uint64_t end_ns = start_ns + (uint64_t)(options.duration_s * (double)NS_PER_S);
    uint64_t last_reply_ns = start_ns;
    uint64_t now = start_ns;
    bool is_draining = false;
    struct timespec tick = {.tv_nsec = TICK_NS};
    if (options.rate > 0) {
        tick.tv_nsec = (long)((double)NS_PER_S / options.rate);
        tick.tv_nsec = tick.tv_nsec < TICK_NS ? tick.tv_nsec : TICK_NS;
    }
    for (unsigned i = 0; options.rate <= 0 && i < options.connection_count; i++) {
        send_requests(&connections[i], options.depth, now_ns());
    }
    while (!is_draining || outstanding() > 0) {
        if (options.rate > 0 && !is_draining) {
            send_due(start_ns, now);
        }
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_pwait2(epoll_fd, events, EVENTS_MAX, &tick, NULL);
        now = now_ns();
        is_draining = now > end_ns || (options.is_preload && preload_next >= options.key_count);
        for (int i = 0; i < n; i++) {
            if (on_event(events[i].data.ptr, events[i].events, is_draining)) {
                last_reply_ns = now;
            }
        }
        if (now - last_reply_ns > STALL_NS && outstanding() > 0) {
            die("stalled", "", 0);
        }
    }
}

static void report(uint64_t start_ns)
{
    uint64_t total = get_count + set_count;
    double seconds = (double)(now_ns() - start_ns) / (double)NS_PER_S;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu_us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    printf("{\"reqs\":%" PRIu64 ",\"gets\":%" PRIu64 ",\"sets\":%" PRIu64
           ",\"secs\":%.4f,\"rps\":%.1f,\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f,"
           "\"lg_cpu_us\":%.3f}\n",
           total, get_count, set_count, seconds, (double)total / seconds, latency_quantile_us(0.5),
           latency_quantile_us(0.99), latency_quantile_us(0.999), (double)latency_max_ns / 1000.0,
           cpu_us / (double)(total > 0 ? total : 1));
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || n < min || n > max) {
        fprintf(stderr, "lg: not a number from %" PRIu64 " to %" PRIu64 ": %s\n", min, max, text);
        exit(1);
    }
    return n;
}

static void read_options(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "p:c:d:v:m:k:s:t:r:P:L")) != -1) {
        switch (option) {
        case 'p':
            options.port = (uint16_t)number(optarg, 1, UINT16_MAX);
            break;
        case 'c':
            options.connection_count = (unsigned)number(optarg, 1, 100000);
            break;
        case 'd':
            options.depth = (unsigned)number(optarg, 1, DEPTH_MAX);
            break;
        case 'v':
            options.value_bytes = number(optarg, 1, 1 << 27);
            break;
        case 'm':
            options.keys_per_get = (unsigned)number(optarg, 1, 10000);
            break;
        case 'k':
            options.key_count = number(optarg, 1, 1000000000);
            break;
        case 's':
            options.set_percent = (unsigned)number(optarg, 0, 100);
            break;
        case 't':
            options.duration_s = strtod(optarg, NULL);
            break;
        case 'r':
            options.rate = strtod(optarg, NULL);
            break;
        case 'P':
            options.prefix = *optarg;
            break;
        case 'L':
            options.is_preload = true;
            break;
        default:
            fprintf(stderr, "usage: lg -p PORT -c CONNECTIONS -d DEPTH -v VALUE_BYTES -P PREFIX "
                            "-s SET_PERCENT -m KEYS_PER_GET -k KEYS -t SECONDS [-r RATE] [-L]\n");
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    value = malloc(options.value_bytes);
    connections = calloc(options.connection_count, sizeof *connections);
    epoll_fd = epoll_create1(0);
    if (value == NULL || connections == NULL || epoll_fd < 0) {
        die("out of memory", "", 0);
    }
    memset(value, 'x', options.value_bytes);
    int head_bytes =
        snprintf(NULL, 0, "VALUE key:a:%0*d 0 %zu\r\n", KEY_DIGITS, 0, options.value_bytes);
    get_reply_bytes =
        ((size_t)head_bytes + options.value_bytes + 2U) * options.keys_per_get + END_BYTES;
    for (unsigned i = 0; i < options.connection_count; i++) {
        dial(&connections[i]);
    }
    uint64_t start_ns = now_ns();
    run(start_ns);
    report(start_ns);
    return 0;
}
