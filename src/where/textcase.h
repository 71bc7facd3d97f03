/*
 * textcase.h - lower, upper and initcap as the server's ctype has them. Private to src/where.
 *
 * C and POSIX map ASCII letters only; libc and the builtin provider map character by character; ICU maps
 * whole texts, where we fail on the characters for which that differs (ß, final sigma, İ, ligatures …).
 * Results live in the call's arena, or are the argument. Pure, any thread.
 */
#ifndef BUSBAR_WHERE_TEXTCASE_H
#define BUSBAR_WHERE_TEXTCASE_H

#include "where/collation.h"
#include "where/value.h"

/* -1 with c->reason: this collation's mapping of the text is unknown to us. */
int textcase_lower(struct where_call *c, const char *p, size_t n, struct where_value *out);
int textcase_upper(struct where_call *c, const char *p, size_t n, struct where_value *out);
int textcase_initcap(struct where_call *c, const char *p, size_t n, struct where_value *out);

/* lower() of ASCII into the caller's `room` bytes. False (they may be written to): it doesn't fit, isn't ASCII, or maps
 * otherwise; use the above. */
bool textcase_lower_ascii(const struct where_collation *collation, const char *p, size_t n, char *out, size_t room);

#endif
