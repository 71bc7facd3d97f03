/*
 * digest.h - MD5 (RFC 1321) and SHA-2 (FIPS 180-4) for md5() and sha224() … sha512(). Not for secrets: not
 * constant time. Private to src/where. Pure, any thread.
 */
#ifndef BUSBAR_WHERE_DIGEST_H
#define BUSBAR_WHERE_DIGEST_H

#include <stddef.h>

#define DIGEST_MD5_BYTES 16
#define DIGEST_BYTES_MAX 64

void digest_md5(const void *p, size_t n, unsigned char out[DIGEST_MD5_BYTES]);
/* `bits`: 224, 256, 384 or 512; writes bits / 8 bytes. */
void digest_sha2(unsigned bits, const void *p, size_t n, unsigned char *out);

#endif
