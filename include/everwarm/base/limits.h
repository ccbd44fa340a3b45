/* SPDX-License-Identifier: BSD-2-Clause */
/* Every bound of the program that is not configurable, each with its reason. */
#ifndef EVERWARM_BASE_LIMITS_H
#define EVERWARM_BASE_LIMITS_H

enum {
    /* memcached's KEY_MAX_LENGTH. */
    MC_KEY_BYTES_MAX = 250,
    /* memcached gives up on a command line (but get and gets) of more than 2048 bytes. */
    MC_LINE_BYTES_MAX = 2048,
    /* A multiget of 10,000 keys of full length fits; more is answered as memcached answers a line
     * that never ends. */
    MC_GET_LINE_BYTES_MAX = 4 << 20,
    /* The largest value that is read from a node: memcached's -I goes up to 1 GiB. Ours to 128 MiB
     * (limits.item), but others may have stored it; what does not fit in memory is read to its end
     * and thrown away. */
    MC_VALUE_BYTES_MAX = 1 << 30,
    /* From this size on a value's way counts: it has time of its own beside a request's, and tells
     * that its node lives. A smaller one is on a socket in one piece. */
    MC_VALUE_LARGE_BYTES = 64 << 10,
    /* A large value that comes or goes slower than this on one connection is late. An eighth of a
     * network of a gigabit: 128 MiB have eight seconds. */
    LINK_BYTES_A_SECOND_MIN = 16 << 20,
    /* A node's reply line: VALUE, a key, flags, bytes, cas; STAT lines are shorter than this too.
     */
    MC_REPLY_LINE_BYTES_MAX = 2048,

    /* Buffers are cut from chunks of this size: a small item fits in one, an idle client holds
     * none. */
    CHUNK_BYTES = 16384,

    /* Nodes of one pool. Sets of nodes are 32-bit masks. */
    NODES_MAX = 32,
    /* A node's name, in views, URLs and metrics. */
    NODE_NAME_BYTES_MAX = 64,
    /* host:port or unix:/path; sun_path holds 108. */
    NODE_ADDRESS_BYTES_MAX = 256,
    /* The same once it is resolved, as views name it: [v6%scope]:port, or unix: and sun_path. */
    VIEW_ADDRESS_BYTES_MAX = 128,
    POOL_NAME_BYTES_MAX = 64,
    POOLS_MAX = 16,

    /* Proxy ids are 8 bits of a token (replication.md section 3). */
    PROXIES_MAX = 256,
    /* Effective ancestors that a view names (replication.md section 4). */
    VIEW_ANCESTORS_MAX = 64,
    /* A view of NODES_MAX nodes with the longest names and addresses, each byte of them written as
     * %XX, ancestors and head is below 24 KiB; what is larger was not written by us. */
    VIEW_BYTES_MAX = 24576,
    /* The same of a heartbeat that names all nodes as given up: below 7 KiB. */
    HEARTBEAT_BYTES_MAX = 8192,

    WORKERS_MAX = 64,
    /* Commands of one dataplane in flight or unsent: ten thousand clients with six each; past it
     * clients are read no more. Slots are touched on demand. */
    TXNS_MAX = 65536,
    /* Node requests of one dataplane in flight. */
    LEGS_MAX = 131072,
    /* Keys of one dataplane with a write of several steps in flight (a power of two); three
     * quarters are used, later writes wait. */
    INFLIGHT_SLOTS = 65536,
    /* Keys to be deleted everywhere because a write of theirs ended in doubt; past it the next is
     * left to the comparison of copies. */
    INVALIDATIONS_MAX = 8192,
    /* Keys of one dataplane that wait for the comparison of their copies: those written within its
     * delay and a round trip, several times over; past it later writes wait. Touched on demand. */
    SETTLE_ENTRIES_MAX = 16384,
    /* Of them those that differ on a filling node only, and wait until it is complete; past it the
     * key is deleted instead. */
    SETTLE_PARKED_MAX = 8192,
    /* Comparisons of one dataplane under way at once. */
    SETTLE_CHECKS_MAX = 1024,
    /* Keys of one dataplane that a warming node is being asked for, or given; past it what is read
     * is not: it will be read again. A thousand connections' reads, a few round trips each, fill
     * this many places with few to spare, and it holds no more memory than so many small items. */
    WARMS_MAX = 128,
    /* Times that a read is sent anew before it is answered as unreadable: each try is another
     * connection or another view, so a node that talks nonsense can't keep it going. */
    TXN_TRIES_MAX = 16,
    /* A client in the middle of a request must bring so much of it in limits.client_stall, 500
     * bytes a second by default: less than any line that a cache is of use on. */
    CLIENT_TRICKLE_BYTES = 16384,
    /* Keys of one multiget that travel as one transaction; longer ones go in several, in order. */
    MULTIGET_KEYS_MAX = 256,

    /* Addresses that one pool listens on: a few networks and unix sockets. */
    LISTENERS_MAX = 8,
    /* POOLS_MAX pools of NODES_MAX nodes, each key written and commented, stay below 1 MiB; parsing
     * a larger file would only cost memory. */
    CONFIG_BYTES_MAX = 4 << 20,
    /* memcacheds that --local starts: a few per core are plenty. */
    LOCAL_NODES_MAX = 16,
};

#endif
