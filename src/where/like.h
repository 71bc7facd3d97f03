/*
 * like.h - LIKE patterns: `%` any run, `_` one character, a backslash takes what follows as it is.
 * Private to src/where.
 *
 * A constant pattern is compiled once, into pieces between the `%`s that are searched for from the left (memmem
 * where a piece is plain text, so `%abc%` is linear); a pattern of a row is matched as it stands. Both give what
 * Postgres gives, the error included: a pattern ending in a lone backslash is one only if matching gets there.
 * A compiled pattern is immutable; any thread.
 */
#ifndef BUSBAR_WHERE_LIKE_H
#define BUSBAR_WHERE_LIKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Comparisons of one match; only patterns made for it get there: a long text, and a long piece with `_` inside. */
#define LIKE_STEPS_MAX (1u << 27)

enum like_result { LIKE_NO, LIKE_YES, LIKE_BAD_ESCAPE, LIKE_TOO_LONG };

struct like;

/* `chars`: `_` is a character of UTF-8, else a byte (bytea). One block: free(). Never fails. */
struct like *like_compile(const char *pattern, size_t n, bool chars);
/* *steps: in, how many may be taken (at most LIKE_STEPS_MAX are); out, how many were, beyond one search of the text. */
enum like_result like_run(const struct like *l, const char *text, size_t n, uint64_t *steps);

enum like_result like_match(const char *text, size_t n, const char *pattern, size_t pattern_n, bool chars, uint64_t *steps);

#endif
