/* SPDX-License-Identifier: BSD-2-Clause */
/* Meta commands: flags are read first, then each command acts and echoes them in their order. */
#include "sim/model_meta.h"

#include "everwarm/base/invariant.h"
#include "everwarm/mc/encode.h"

struct model_meta_flags {
    char command; /* g, s, d or a */
    struct slice key;
    struct slice words; /* as they came */
    uint64_t flags;
    uint32_t expires;
    uint64_t cas;
    uint64_t token;
    uint64_t delta;
    char mode; /* 0: none */
    bool has_ttl;
    bool has_cas;
    bool has_value;
    bool is_our_own; /* u: a read that leaves the LRU alone answers no client */
    bool is_quiet;
};

/* As mc_next_word, for words of a few bytes. */
static struct slice model_meta_word(struct slice *words)
{
    const char *at = words->ptr;
    const char *end = at + words->len;
    while (at < end && *at == ' ') {
        at++;
    }
    const char *first = at;
    while (at < end && *at != ' ') {
        at++;
    }
    *words = slice_of(at, (size_t)(end - at));
    return slice_of(first, (size_t)(at - first));
}

static const char MODEL_META_BAD_TOKEN[] = "CLIENT_ERROR bad token in command line format";

/* Returns NULL, or memcached's error line. */
static const char *model_meta_flag(const struct store *store, struct slice word,
                                   struct model_meta_flags *out)
{
    struct slice value = slice_skip(word, 1);
    uint64_t number = 0;
    int64_t signed_number = 0;
    bool is_number = value.len > 0 && mc_read_u64(value, &number);
    switch (word.ptr[0]) {
    case 'T':
        out->has_ttl = true;
        is_number = mc_read_i64(value, &signed_number);
        out->expires = store_expiry(store, signed_number);
        return is_number ? NULL : MODEL_META_BAD_TOKEN;
    case 'F':
        out->flags = number;
        return is_number ? NULL : MODEL_META_BAD_TOKEN;
    case 'C':
        out->has_cas = true;
        out->cas = number;
        return is_number ? NULL : MODEL_META_BAD_TOKEN;
    case 'E':
        out->token = number;
        return !store->knows_tokens ? "CLIENT_ERROR invalid flag"
               : is_number          ? NULL
                                    : MODEL_META_BAD_TOKEN;
    case 'D':
        out->delta = number;
        return is_number ? NULL : MODEL_META_BAD_TOKEN;
    case 'M':
        out->mode = value.len == 1 ? value.ptr[0] : '?';
        return value.len == 1 ? NULL : "CLIENT_ERROR incorrect length for M token";
    case 'v':
        out->has_value = true;
        return NULL;
    case 'q':
        out->is_quiet = true;
        return NULL;
    case 'k':
    case 'O':
    case 's':
    case 'f':
    case 'c':
    case 't':
        return NULL;
    case 'u':
        out->is_our_own = true;
        return NULL;
    default:
        return "CLIENT_ERROR invalid flag";
    }
}

static const char *model_meta_flags(const struct store *store, struct slice words,
                                    struct model_meta_flags *out)
{
    out->words = words;
    uint64_t seen[2] = {0, 0};
    for (;;) {
        struct slice word = model_meta_word(&words);
        if (word.len == 0) {
            return NULL;
        }
        unsigned char letter = (unsigned char)word.ptr[0];
        if (letter >= 127 || (seen[letter / 64] >> letter % 64 & 1) != 0) {
            return "CLIENT_ERROR duplicate flag";
        }
        seen[letter / 64] |= UINT64_C(1) << letter % 64;
        const char *error = model_meta_flag(store, word, out);
        if (error != NULL) {
            return error;
        }
    }
}

/*
 * Append what the flags ask to be shown. ITEM may be NULL: only k and O are known. T acts where it
 * stands among them: a t before it shows the old time.
 */
static void model_meta_echo(const struct store *store, struct bytes *out,
                            const struct model_meta_flags *flags, struct store_item *item)
{
    struct slice words = flags->words;
    for (;;) {
        struct slice word = model_meta_word(&words);
        if (word.len == 0) {
            return;
        }
        char letter = word.ptr[0];
        if (letter == 'O') {
            bytes_put(out, SLICE(" "));
            bytes_put(out, word);
        } else if (letter == 'k') {
            bytes_put(out, SLICE(" k"));
            bytes_put(out, flags->key);
        } else if (item == NULL || (flags->command == 's' && letter != 'c')) {
            continue;
        } else if (letter == 'T') {
            item->expires = flags->expires;
        } else if (letter == 'c') {
            bytes_put(out, SLICE(" c"));
            bytes_put_number(out, item->cas);
        } else if (letter == 'f') {
            bytes_put(out, SLICE(" f"));
            bytes_put_number(out, item->flags);
        } else if (letter == 's') {
            bytes_put(out, SLICE(" s"));
            bytes_put_number(out, item->len);
        } else if (letter == 't' && item->expires == 0) {
            bytes_put(out, SLICE(" t-1"));
        } else if (letter == 't') {
            bytes_put(out, SLICE(" t"));
            /* What has just expired shows as a number near 2^32, as in memcached. */
            bytes_put_number(out, item->expires - store_now(store));
        }
    }
}

static void model_meta_show(const struct store *store, struct bytes *out,
                            const struct model_meta_flags *flags, struct store_item *item)
{
    if (flags->has_value) {
        bytes_put(out, SLICE("VA "));
        bytes_put_number(out, item->len);
    } else {
        bytes_put(out, SLICE("HD"));
    }
    model_meta_echo(store, out, flags, item);
    bytes_put(out, SLICE("\r\n"));
    if (flags->has_value) {
        bytes_put(out, slice_of(item->data, item->len));
        bytes_put(out, SLICE("\r\n"));
    }
}

static void model_meta_say(struct model *model, struct bytes *out, const char *word,
                           const struct model_meta_flags *flags, struct store_item *item)
{
    bytes_put(out, slice_of_string(word));
    model_meta_echo(&model->store, out, flags, item);
    bytes_put(out, SLICE("\r\n"));
}

static void model_meta_get(struct model *model, struct bytes *out,
                           const struct model_meta_flags *flags)
{
    if (model->on_read != NULL && flags->has_value && !flags->is_our_own) {
        model->on_read(model->owner, flags->key);
    }
    struct store_item *item = store_find(&model->store, flags->key);
    if (item == NULL) {
        if (!flags->is_quiet) {
            model_meta_say(model, out, "EN", flags, NULL);
        }
        return;
    }
    model_meta_show(&model->store, out, flags, item);
    item->is_fetched = true;
}

static void model_meta_set(struct model *model, struct bytes *out,
                           const struct model_meta_flags *flags, struct slice data)
{
    struct store_write write = {.mode = STORE_SET,
                                .key = flags->key,
                                .data = data,
                                .flags = (uint32_t)flags->flags,
                                .expires = flags->expires,
                                .cas = flags->cas,
                                .token = flags->token};
    switch (flags->mode) {
    case 'E':
        write.mode = STORE_ADD;
        break;
    case 'A':
        write.mode = STORE_APPEND;
        break;
    case 'P':
        write.mode = STORE_PREPEND;
        break;
    case 'R':
        write.mode = flags->has_cas ? STORE_CAS : STORE_REPLACE;
        break;
    default:
        write.mode = flags->has_cas ? STORE_CAS : STORE_SET;
        break;
    }
    /* Of the item only its CAS is shown; 0 after a refusal. */
    struct store_item shown = {.cas = 0};
    enum store_result result = store_put(&model->store, &write, &shown.cas);
    switch (result) {
    case STORE_STORED:
        if (!flags->is_quiet) {
            model_meta_say(model, out, "HD", flags, &shown);
        }
        return;
    case STORE_NOT_STORED:
        model_meta_say(model, out, "NS", flags, &shown);
        return;
    case STORE_EXISTS:
        model_meta_say(model, out, "EX", flags, &shown);
        return;
    case STORE_NOT_FOUND:
        model_meta_say(model, out, "NF", flags, &shown);
        return;
    }
    UNREACHABLE();
}

static void model_meta_delete(struct model *model, struct bytes *out,
                              const struct model_meta_flags *flags)
{
    struct store_item *item = store_find(&model->store, flags->key);
    if (item == NULL) {
        model_meta_say(model, out, "NF", flags, NULL);
    } else if (flags->has_cas && flags->cas != item->cas) {
        model_meta_say(model, out, "EX", flags, NULL);
    } else {
        store_drop(&model->store, item);
        if (!flags->is_quiet) {
            model_meta_say(model, out, "HD", flags, NULL);
        }
    }
}

static void model_meta_arithmetic(struct model *model, struct bytes *out,
                                  const struct model_meta_flags *flags)
{
    bool is_down = flags->mode != 0 && memchr("Dd-", flags->mode, 3) != NULL;
    uint64_t value;
    struct store_delta change = {.key = flags->key,
                                 .sign = is_down ? -1 : 1,
                                 .delta = flags->delta,
                                 .cas = flags->has_cas ? flags->cas : 0,
                                 .token = flags->token};
    enum store_delta_result result = store_add_delta(&model->store, &change, &value);
    switch (result) {
    case STORE_DELTA_OK: {
        if (flags->is_quiet) {
            return;
        }
        struct store_item *item = store_find(&model->store, flags->key);
        /* The reply shows the number, not the blanks that stand behind it in the item. */
        struct store_item shown = *item;
        struct slice text = slice_of(item->data, item->len);
        shown.len = (uint32_t)mc_next_word(&text).len;
        model_meta_show(&model->store, out, flags, &shown);
        item->expires = shown.expires;
        return;
    }
    case STORE_DELTA_NOT_FOUND:
        model_meta_say(model, out, "NF", flags, NULL);
        return;
    case STORE_DELTA_EXISTS:
        model_meta_say(model, out, "EX", flags, NULL);
        return;
    case STORE_DELTA_NON_NUMERIC:
        bytes_print(out, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        return;
    }
    UNREACHABLE();
}

static size_t model_meta_fail(struct bytes *out, const char *error, size_t taken)
{
    bytes_print(out, "%s\r\n", error);
    return taken;
}

size_t model_meta_run(struct model *model, struct model_conn *conn, struct slice word,
                      struct slice rest, struct slice data)
{
    struct bytes *out = &conn->out;
    char command = word.ptr[1];
    if (command == 'n') {
        bytes_put(out, SLICE("MN\r\n"));
        return 0;
    }
    struct model_meta_flags flags = {.command = command, .delta = 1, .key = mc_next_word(&rest)};
    if (flags.key.len == 0 || flags.key.len > MC_KEY_BYTES_MAX) {
        return model_meta_fail(out, "CLIENT_ERROR bad command line format", 0);
    }
    uint64_t len = 0;
    size_t taken = 0;
    if (command == 's') {
        if (!mc_read_u64(mc_next_word(&rest), &len) || len > 1u << 20) {
            model->is_understanding = false;
            return model_meta_fail(out, "CLIENT_ERROR bad data chunk", 0);
        }
        taken = (size_t)len + 2;
        if (data.len < taken) {
            return SIZE_MAX;
        }
    }
    const char *error = model_meta_flags(&model->store, rest, &flags);
    if (error == NULL && command == 's' && flags.mode != 0 &&
        memchr("EeAaPpRrSs", flags.mode, 10) == NULL) {
        error = "CLIENT_ERROR invalid mode for ms M token";
    }
    if (error != NULL) {
        bool is_vague = command == 'd' || command == 'a';
        return model_meta_fail(out, is_vague ? "CLIENT_ERROR invalid or duplicate flag" : error,
                               taken);
    }
    if (command == 's' && memcmp(data.ptr + len, "\r\n", 2) != 0) {
        model->is_understanding = false;
        return model_meta_fail(out, "CLIENT_ERROR bad data chunk", taken);
    }
    switch (command) {
    case 'g':
        model_meta_get(model, out, &flags);
        break;
    case 's':
        if (flags.mode >= 'a') {
            flags.mode = (char)(flags.mode - 'a' + 'A');
        }
        model_meta_set(model, out, &flags, slice_of(data.ptr, (size_t)len));
        break;
    case 'd':
        model_meta_delete(model, out, &flags);
        break;
    default:
        model_meta_arithmetic(model, out, &flags);
        break;
    }
    return taken;
}
