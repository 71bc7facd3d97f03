/*
 * regex_private.h - the compiled form: regex_parse.c makes it, regex.c runs it.
 */
#ifndef BUSBAR_WHERE_REGEX_PRIVATE_H
#define BUSBAR_WHERE_REGEX_PRIVATE_H

#include "where/regex.h"

/* Classes of characters, as bits. CLASS_WORD: alnum and the underscore. */
enum regex_class {
	CLASS_ALNUM, CLASS_ALPHA, CLASS_ASCII, CLASS_BLANK, CLASS_CNTRL, CLASS_DIGIT, CLASS_GRAPH, CLASS_LOWER, CLASS_PRINT,
	CLASS_PUNCT, CLASS_SPACE, CLASS_UPPER, CLASS_XDIGIT, CLASS_WORD, CLASS_COUNT
};

struct regex_range { uint32_t from, to; };

struct regex_set {
	struct regex_range *ranges; /* sorted, disjoint */
	uint32_t n, cap;
	uint16_t classes, not_classes; /* in one of these; outside one of these */
	bool negated, no_newline;      /* no_newline: a negated set that leaves newline out as well */
};

enum regex_op { NODE_CHAR, NODE_SET, NODE_ASSERT, NODE_SPLIT, NODE_JUMP, NODE_MATCH };
enum regex_assert {
	ASSERT_TEXT_START, ASSERT_TEXT_END, ASSERT_LINE_START, ASSERT_LINE_END, ASSERT_WORD_START, ASSERT_WORD_END,
	ASSERT_WORD_EDGE, ASSERT_NOT_WORD_EDGE
};

/* Continues at the next node, NODE_SPLIT also at `to`, NODE_JUMP only there. */
struct regex_node {
	uint16_t op;
	uint16_t to;
	uint32_t arg; /* NODE_CHAR: index into literals; NODE_SET: into sets; NODE_ASSERT: enum regex_assert */
};

struct regex_dfa;

struct regex {
	const struct where_collation *collation;
	struct regex_node *nodes;
	uint32_t nnodes;
	struct regex_set *sets;
	uint32_t nsets;
	uint32_t *literals; /* different single characters of the pattern, sorted */
	uint32_t nliterals;
	bool words;         /* asserts about words: sets[word_set] is there */
	bool lines;         /* asserts about lines: literals[newline] is there */
	uint32_t word_set, newline;
	bool anchored;      /* matches only start at the start of the text */
	struct regex_dfa *dfa;
};

/* Parses; everything but `dfa` and `anchored`. 0 or -1 with the reason. *steps: as of regex_compile(). */
int regex_parse(struct regex *r, const char *pattern, size_t n, unsigned flags, uint64_t *steps, char reason[WHERE_REASON_MAX]);

/* regex_class.c: 1, 0, or -1: the database alone knows. */
int regex_in_class(const struct where_collation *collation, enum regex_class class, uint32_t c);
/* Lower and upper case of one character; false: unknown. */
bool regex_cases(const struct where_collation *collation, uint32_t c, uint32_t *lower, uint32_t *upper);

#endif
