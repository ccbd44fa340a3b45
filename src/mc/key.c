/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys written in base64 (meta flag b). They go to the nodes as the client wrote them; the bytes
 * are needed to find the key's leader, which is the same however the key is written, and to keep
 * clients away from the reserved ones. memcached takes padding bits and foreign characters that no
 * encoder writes; here one key has one spelling, so that nothing can hide behind another.
 */
#include "everwarm/mc/request.h"

#include "everwarm/base/limits.h"

#include <openssl/evp.h>

enum {
    GROUP_CHARS = 4,
    GROUP_BYTES = 3,
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
