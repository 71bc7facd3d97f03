/*
 * number_text.h - integers, floats and booleans as Postgres 15 reads and writes them.
 *
 * Readers take blanks around, and nothing that came with Postgres 16 (0x1F, 0o17, 0b1, 1_000); floats take
 * what C's strtod() takes, as Postgres does, hexadecimal included. No memory is kept; any thread.
 */
#ifndef BUSBAR_WHERE_NUMBER_TEXT_H
#define BUSBAR_WHERE_NUMBER_TEXT_H

#include "where/value.h"

/* `type`: Postgres's name of it, for messages. 0 or -1. */
int number_parse_int(struct where_call *c, const char *p, size_t n, int64_t min, int64_t max, const char *type,
                     int64_t *out);
int number_parse_oid(struct where_call *c, const char *p, size_t n, int64_t *out);
int number_parse_float8(struct where_call *c, const char *p, size_t n, double *out);
int number_parse_float4(struct where_call *c, const char *p, size_t n, double *out); /* rounded once, to a float */
int number_parse_bool(struct where_call *c, const char *p, size_t n, bool *out);

void number_put_int(struct buf *out, int64_t v);
/* The fewest digits that read back as the same number, the nearest of those (extra_float_digits 1). */
void number_put_float8(struct buf *out, double v);
void number_put_float4(struct buf *out, double v);

#endif
