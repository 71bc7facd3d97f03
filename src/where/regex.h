/*
 * regex.h - regular expressions: the regular part of PostgreSQL's "advanced" syntax, with its meaning.
 * Private to src/where; docs/where.md is the user's page.
 *
 * What is found, and nothing about where: greedy and non-greedy forms and captures are the same here. What isn't
 * regular (back-references, lookaround) or whose meaning we can't promise is refused by name. A pattern becomes an
 * NFA over code points; matching builds the DFA's states as texts need them, in a cache of bounded size, so its
 * time is linear in the text, never exponential. A compiled pattern carries that cache: one thread at a time.
 */
#ifndef BUSBAR_WHERE_REGEX_H
#define BUSBAR_WHERE_REGEX_H

#include "where/collation.h"
#include "where/value.h"

#define REGEX_PATTERN_BYTES_MAX 8192
#define REGEX_REPEAT_MAX 255            /* of {m,n}, as in Postgres */
#define REGEX_DEPTH_MAX 100             /* parentheses inside each other */
#define REGEX_NODES_MAX 4096            /* NFA states, repetitions written out */
#define REGEX_SETS_MAX 256              /* different bracket expressions and classes of one pattern */
#define REGEX_SET_RANGES_MAX 4096
#define REGEX_CASE_RANGE_MAX 0x20000u   /* characters in a range whose other cases are looked up */
#define REGEX_CACHE_BYTES_MAX (256u << 10) /* DFA of one pattern; when full, it starts afresh */
#define REGEX_STEPS_MAX (1u << 25)      /* work of one match, in nodes visited for new states; beyond it fails (0.1 s) */

enum { REGEX_ICASE = 1, REGEX_NEWLINE_STOP = 2, REGEX_NEWLINE_ANCHOR = 4 };

struct regex;

/* NULL with the reason: invalid, as Postgres finds it, not supported, or too much work. *steps: in, how much may be done
 * (at most REGEX_STEPS_MAX is); out, how much was. */
struct regex *regex_compile(const char *pattern, size_t n, const struct where_collation *collation, unsigned flags,
                            uint64_t *steps, char reason[WHERE_REASON_MAX]);
void regex_free(struct regex *r); /* NULL is fine */

/* 1 if the text has a match, 0 if not, -1 with the reason: too much work, or a character whose class the
 * database alone knows. *steps: in, how much may be done (at most REGEX_STEPS_MAX is); out, how much was: less where
 * earlier texts have left states in the cache. */
int regex_match(struct regex *r, const char *text, size_t n, uint64_t *steps, char reason[WHERE_REASON_MAX]);

#endif
