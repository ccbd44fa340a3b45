/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys written in base64 (meta flag b). A client's go to the nodes as the client wrote them; the
 * bytes are needed to find the key's leader, which is the same however the key is written, and to
 * keep clients away from the reserved ones. memcached takes padding bits and foreign characters
 * that no encoder writes; here one key has one spelling, so that nothing can hide behind another.
 * Dumps name keys by their bytes, so who copies or compares has to write them.
 */
#include "everwarm/mc/request.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/limits.h"
#include "everwarm/mc/encode.h"

#include <openssl/evp.h>

enum {
    GROUP_CHARS = 4,
    GROUP_BYTES = 3,
    /* Whose base64 is still a key that memcached takes. */
    ENCODED_BYTES_MAX = MC_KEY_BYTES_MAX / GROUP_CHARS * GROUP_BYTES,
};

size_t mc_key_decode(struct slice written, char *to)
{
    unsigned char bytes[MC_KEY_BYTES_MAX];
    unsigned char again[MC_KEY_BYTES_MAX + GROUP_CHARS];
    if (written.len == 0 || written.len > MC_KEY_BYTES_MAX || written.len % GROUP_CHARS != 0) {
        return 0;
    }
    const unsigned char *from = (const unsigned char *)written.ptr;
    int decoded = EVP_DecodeBlock(bytes, from, (int)written.len);
    if (decoded != (int)(written.len / GROUP_CHARS * GROUP_BYTES)) {
        return 0;
    }
    size_t padding = written.ptr[written.len - 1] != '='   ? 0
                     : written.ptr[written.len - 2] != '=' ? 1
                                                           : 2;
    size_t len = (size_t)decoded - padding;
    int encoded = EVP_EncodeBlock(again, bytes, (int)len);
    if (encoded != (int)written.len || memcmp(again, written.ptr, written.len) != 0) {
        return 0;
    }
    memcpy(to, bytes, len);
    return len;
}

static bool is_word(struct slice key)
{
    return memchr(key.ptr, ' ', key.len) == NULL && memchr(key.ptr, '\n', key.len) == NULL &&
           memchr(key.ptr, '\0', key.len) == NULL;
}

bool mc_key_can_be_written(struct slice key)
{
    return is_word(key) || key.len <= ENCODED_BYTES_MAX;
}

void mc_write_key(struct mc_writer *w, struct slice key)
{
    unsigned char encoded[MC_KEY_BYTES_MAX + GROUP_CHARS];
    if (is_word(key)) {
        mc_write(w, key);
        return;
    }
    INVARIANT(key.len <= ENCODED_BYTES_MAX);
    int len = EVP_EncodeBlock(encoded, (const unsigned char *)key.ptr, (int)key.len);
    mc_write(w, slice_of((const char *)encoded, (size_t)len));
}

void mc_write_key_flag(struct mc_writer *w, struct slice key)
{
    mc_write(w, is_word(key) ? SLICE("") : SLICE(" b"));
}
