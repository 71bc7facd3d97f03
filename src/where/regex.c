/*
 * regex.c - runs compiled patterns, see regex.h.
 *
 * Characters that no part of the pattern tells apart are one symbol. A state of the DFA is a set of NFA nodes
 * (before the empty moves, as assertions need to know the next character) and what kind of character came before.
 * Symbols and states are made when a text needs them.
 */
#include "where/regex.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "where/regex_private.h"

#define SYMBOLS_FIRST 16   /* columns of the table of moves; doubled when a text needs more */
#define SYMBOLS_MAX 1024
#define POINT_CACHE 256    /* characters beyond ASCII whose symbol is remembered, a power of two */
#define NO_LITERAL UINT32_MAX

enum around { AROUND_OTHER, AROUND_WORD, AROUND_NEWLINE, AROUND_END }; /* AROUND_END: start or end of the text */

/* Moves: a state, or one of these. */
enum { MOVE_UNKNOWN = -1, MOVE_MATCH = -2, MOVE_DEAD = -3, MOVE_FAILED = -4 };

enum { SYMBOL_END, SYMBOL_FIRST }; /* SYMBOL_END: the end of the text */

struct symbol {
	uint32_t literal;  /* index, or NO_LITERAL */
	uint8_t around;
};

struct state {
	uint8_t around;
	uint64_t nodes[];  /* then int32_t moves[symbols_cap] */
};

struct regex_dfa {
	uint32_t words;           /* of 64 nodes */
	uint32_t set_words;       /* of 64 sets */
	uint32_t nsymbols, symbols_cap;
	struct symbol *symbols;
	uint64_t *symbol_sets;    /* set_words per symbol */
	int16_t ascii[128];       /* symbol, or -1 */
	struct { uint32_t point; int32_t symbol; } cache[POINT_CACHE];
	size_t state_bytes;
	uint32_t nstates, states_max;
	char *states;
	uint32_t states_cap;
	uint32_t *buckets;        /* state + 1, 0: free; twice states_max or more, a power of two */
	uint32_t mask;
	uint32_t steps;
	uint32_t *stack;
	uint64_t *seen, *next;
	uint64_t *new_sets;
};

/* ---- symbols -------------------------------------------------------------------------------------------------- */

static bool in_ranges(const struct regex_set *s, uint32_t c)
{
	uint32_t low = 0, high = s->n;
	while (low < high) {
		uint32_t mid = (low + high) / 2;
		if (c > s->ranges[mid].to)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->n && c >= s->ranges[low].from;
}

/* 1, 0, or -1: unknown. */
static int in_set(const struct regex *r, const struct regex_set *s, uint32_t c)
{
	if (s->no_newline && c == '\n')
		return 0;
	bool found = in_ranges(s, c), unknown = false;
	for (unsigned class = 0; class < CLASS_COUNT && !found; class++) {
		unsigned bit = 1u << class;
		if (!((s->classes | s->not_classes) & bit))
			continue;
		int in = regex_in_class(r->collation, (enum regex_class)class, c);
		unknown |= in < 0;
		found = (in > 0 && (s->classes & bit)) || (in == 0 && (s->not_classes & bit));
	}
	return !found && unknown ? -1 : found != s->negated;
}

static uint32_t find_literal(const struct regex *r, uint32_t c)
{
	uint32_t low = 0, high = r->nliterals;
	while (low < high) {
		uint32_t mid = (low + high) / 2;
		if (r->literals[mid] == c)
			return mid;
		if (r->literals[mid] < c)
			low = mid + 1;
		else
			high = mid;
	}
	return NO_LITERAL;
}

static void forget_states(struct regex_dfa *d)
{
	d->nstates = 0;
	memset(d->buckets, 0, (d->mask + 1) * sizeof *d->buckets);
}

static struct state *state_at(const struct regex_dfa *d, uint32_t i)
{
	return (struct state *)(void *)(d->states + i * d->state_bytes);
}

static int32_t *moves_of(const struct regex_dfa *d, struct state *s) { return (int32_t *)(void *)(s->nodes + d->words); }

/* Room for `cap` symbols; states, whose size depends on it, are forgotten. */
static void set_symbols_cap(struct regex_dfa *d, uint32_t cap)
{
	d->symbols_cap = cap;
	d->symbols = mem_realloc(d->symbols, cap * sizeof *d->symbols);
	d->symbol_sets = mem_realloc(d->symbol_sets, cap * d->set_words * sizeof *d->symbol_sets + 1);
	size_t bytes = sizeof(struct state) + d->words * sizeof(uint64_t) + cap * sizeof(int32_t);
	d->state_bytes = (bytes + 7) & ~(size_t)7;
	d->states_max = (uint32_t)(REGEX_CACHE_BYTES_MAX / d->state_bytes);
	if (d->states_max < 8)
		d->states_max = 8;
	free(d->states);
	free(d->buckets);
	d->states_cap = 4;
	d->states = mem_alloc(d->states_cap * d->state_bytes);
	d->mask = 15;
	d->buckets = mem_alloc((d->mask + 1) * sizeof *d->buckets);
	forget_states(d);
}

static void forget_symbols(struct regex_dfa *d)
{
	d->nsymbols = SYMBOL_FIRST;
	memset(d->ascii, -1, sizeof d->ascii);
	for (size_t i = 0; i < POINT_CACHE; i++)
		d->cache[i].symbol = -1;
	forget_states(d);
}

/* The symbol of a character, made if it is new (which may forget all states: MOVE_UNKNOWN in *flushed). -1 with the
 * reason. */
static int32_t make_symbol(struct regex *r, uint32_t c, bool *flushed, char *reason)
{
	struct regex_dfa *d = r->dfa;
	struct symbol symbol = {.literal = find_literal(r, c), .around = AROUND_OTHER};
	memset(d->new_sets, 0, d->set_words * sizeof *d->new_sets);
	for (uint32_t i = 0; i < r->nsets; i++) {
		int in = in_set(r, &r->sets[i], c);
		if (in < 0) {
			snprintf(reason, WHERE_REASON_MAX, "the class of U+%04X under the collation \"%s\" is known to the database only",
			         c, r->collation->name);
			return -1;
		}
		if (in)
			d->new_sets[i / 64] |= UINT64_C(1) << (i % 64);
	}
	if (r->words && (d->new_sets[r->word_set / 64] >> (r->word_set % 64) & 1))
		symbol.around = AROUND_WORD;
	else if (r->lines && c == '\n')
		symbol.around = AROUND_NEWLINE;
	for (uint32_t i = SYMBOL_FIRST; i < d->nsymbols; i++)
		if (d->symbols[i].literal == symbol.literal &&
		    (d->set_words == 0 || memcmp(d->symbol_sets + i * d->set_words, d->new_sets, d->set_words * sizeof(uint64_t)) == 0))
			return (int32_t)i;
	*flushed = d->nsymbols == d->symbols_cap;
	if (d->nsymbols == SYMBOLS_MAX)
		forget_symbols(d);
	else if (*flushed)
		set_symbols_cap(d, 2 * d->symbols_cap);
	d->symbols[d->nsymbols] = symbol;
	if (d->set_words > 0)
		memcpy(d->symbol_sets + d->nsymbols * d->set_words, d->new_sets, d->set_words * sizeof(uint64_t));
	return (int32_t)d->nsymbols++;
}

static int32_t symbol_of(struct regex *r, uint32_t c, bool *flushed, char *reason)
{
	struct regex_dfa *d = r->dfa;
	uint32_t slot = c & (POINT_CACHE - 1);
	if (c < 128) {
		if (d->ascii[c] < 0) {
			int32_t symbol = make_symbol(r, c, flushed, reason);
			d->ascii[c] = (int16_t)symbol;
		}
		return d->ascii[c];
	}
	if (d->cache[slot].symbol >= 0 && d->cache[slot].point == c)
		return d->cache[slot].symbol;
	int32_t symbol = make_symbol(r, c, flushed, reason);
	d->cache[slot].point = c;
	d->cache[slot].symbol = symbol;
	return symbol;
}

/* ---- states ----------------------------------------------------------------------------------------------------- */

static bool has_node(const uint64_t *set, uint32_t i) { return set[i / 64] >> (i % 64) & 1; }
static void add_node(uint64_t *set, uint32_t i) { set[i / 64] |= UINT64_C(1) << (i % 64); }

static bool assert_holds(enum regex_assert a, enum around before, enum around after)
{
	bool left = before == AROUND_WORD, right = after == AROUND_WORD;
	switch (a) {
	case ASSERT_TEXT_START: return before == AROUND_END;
	case ASSERT_TEXT_END: return after == AROUND_END;
	case ASSERT_LINE_START: return before == AROUND_END || before == AROUND_NEWLINE;
	case ASSERT_LINE_END: return after == AROUND_END || after == AROUND_NEWLINE;
	case ASSERT_WORD_START: return !left && right;
	case ASSERT_WORD_END: return left && !right;
	case ASSERT_WORD_EDGE: return left != right;
	case ASSERT_NOT_WORD_EDGE: return left == right;
	}
	return false;
}

static void push(struct regex_dfa *d, uint32_t *depth, uint32_t node)
{
	if (has_node(d->seen, node))
		return;
	add_node(d->seen, node);
	d->stack[(*depth)++] = node;
}

static bool accepts(const struct regex_node *n, const struct symbol *symbol, const uint64_t *sets)
{
	if (n->op == NODE_CHAR)
		return n->arg == symbol->literal;
	return sets[n->arg / 64] >> (n->arg % 64) & 1;
}

/* Follows the empty moves from `from` and then the symbol, into d->next. True if a match ends before the symbol. */
static bool advance(struct regex *r, const uint64_t *from, enum around before, int32_t symbol)
{
	struct regex_dfa *d = r->dfa;
	const struct symbol *s = &d->symbols[symbol];
	const uint64_t *sets = d->symbol_sets + (size_t)symbol * d->set_words;
	uint32_t depth = 0;
	memset(d->seen, 0, d->words * sizeof *d->seen);
	memset(d->next, 0, d->words * sizeof *d->next);
	for (uint32_t w = 0; w < d->words; w++)
		for (uint64_t bits = from[w]; bits != 0; bits &= bits - 1)
			push(d, &depth, w * 64 + (uint32_t)__builtin_ctzll(bits));
	d->steps += d->words;
	while (depth > 0) {
		uint32_t i = d->stack[--depth];
		const struct regex_node *n = &r->nodes[i];
		d->steps++;
		switch ((enum regex_op)n->op) {
		case NODE_MATCH: return true;
		case NODE_SPLIT: push(d, &depth, n->to); push(d, &depth, i + 1); break;
		case NODE_JUMP: push(d, &depth, n->to); break;
		case NODE_ASSERT:
			if (assert_holds((enum regex_assert)n->arg, before, (enum around)s->around))
				push(d, &depth, i + 1);
			break;
		case NODE_CHAR: case NODE_SET:
			if (symbol != SYMBOL_END && accepts(n, s, sets))
				add_node(d->next, i + 1);
			break;
		}
	}
	return false;
}

static uint32_t hash_state(const struct regex_dfa *d, const uint64_t *nodes, enum around before)
{
	uint64_t h = before + 1;
	for (uint32_t w = 0; w < d->words; w++)
		h = (h ^ nodes[w] ^ (h >> 29)) * UINT64_C(0x9E3779B97F4A7C15);
	return (uint32_t)(h >> 32);
}

static void grow_states(struct regex_dfa *d)
{
	d->states_cap = 2 * d->states_cap < d->states_max ? 2 * d->states_cap : d->states_max;
	d->states = mem_realloc(d->states, d->states_cap * d->state_bytes);
	if (d->mask + 1 >= 2 * d->states_cap)
		return;
	while (d->mask + 1 < 2 * d->states_cap)
		d->mask = 2 * d->mask + 1;
	d->buckets = mem_realloc(d->buckets, (d->mask + 1) * sizeof *d->buckets);
	memset(d->buckets, 0, (d->mask + 1) * sizeof *d->buckets);
	for (uint32_t i = 0; i < d->nstates; i++) {
		const struct state *s = state_at(d, i);
		uint32_t b = hash_state(d, s->nodes, s->around) & d->mask;
		while (d->buckets[b] != 0)
			b = (b + 1) & d->mask;
		d->buckets[b] = i + 1;
	}
}

/* The state of these nodes, made if it is new; *flushed if all others were forgotten for it. */
static int32_t find_state(struct regex_dfa *d, const uint64_t *nodes, enum around before, bool *flushed)
{
	uint32_t hash = hash_state(d, nodes, before), b = hash & d->mask;
	for (; d->buckets[b] != 0; b = (b + 1) & d->mask) {
		const struct state *s = state_at(d, d->buckets[b] - 1);
		if (s->around == before && memcmp(s->nodes, nodes, d->words * sizeof *nodes) == 0)
			return (int32_t)d->buckets[b] - 1;
	}
	if (d->nstates == d->states_max) {
		forget_states(d);
		*flushed = true;
	}
	if (d->nstates == d->states_cap)
		grow_states(d);
	for (b = hash & d->mask; d->buckets[b] != 0; b = (b + 1) & d->mask)
		;
	uint32_t i = d->nstates++;
	d->buckets[b] = i + 1;
	struct state *s = state_at(d, i);
	s->around = (uint8_t)before;
	memcpy(s->nodes, nodes, d->words * sizeof *nodes);
	memset(moves_of(d, s), 0xFF, d->symbols_cap * sizeof(int32_t));
	return (int32_t)i;
}

static bool is_empty(const struct regex_dfa *d, const uint64_t *nodes)
{
	for (uint32_t w = 0; w < d->words; w++)
		if (nodes[w] != 0)
			return false;
	return true;
}

static int32_t make_move(struct regex *r, int32_t from, int32_t symbol)
{
	struct regex_dfa *d = r->dfa;
	struct state *s = state_at(d, (uint32_t)from);
	bool flushed = false;
	int32_t to;
	if (advance(r, s->nodes, (enum around)s->around, symbol)) {
		to = MOVE_MATCH;
	} else if (symbol == SYMBOL_END) {
		to = MOVE_DEAD;
	} else {
		if (!r->anchored)
			add_node(d->next, 0);
		to = is_empty(d, d->next) ? MOVE_DEAD : find_state(d, d->next, (enum around)d->symbols[symbol].around, &flushed);
	}
	if (!flushed)
		moves_of(d, state_at(d, (uint32_t)from))[symbol] = to;
	return to;
}

/* ---- matching ------------------------------------------------------------------------------------------------ */

static struct regex_dfa *dfa_new(const struct regex *r)
{
	struct regex_dfa *d = mem_zalloc(sizeof *d);
	d->words = (r->nnodes + 63) / 64;
	d->set_words = (r->nsets + 63) / 64;
	d->stack = mem_alloc(r->nnodes * sizeof *d->stack);
	d->seen = mem_zalloc(d->words * sizeof *d->seen);
	d->next = mem_zalloc(d->words * sizeof *d->next);
	d->new_sets = mem_zalloc(d->set_words * sizeof *d->new_sets + 1);
	set_symbols_cap(d, SYMBOLS_FIRST);
	forget_symbols(d);
	memset(d->symbol_sets, 0, d->set_words * sizeof *d->symbol_sets);
	d->symbols[SYMBOL_END] = (struct symbol){NO_LITERAL, AROUND_END};
	return d;
}

static void dfa_free(struct regex_dfa *d)
{
	if (d == NULL)
		return;
	free(d->symbols);
	free(d->symbol_sets);
	free(d->states);
	free(d->buckets);
	free(d->stack);
	free(d->seen);
	free(d->next);
	free(d->new_sets);
	free(d);
}

static int32_t start_state(struct regex_dfa *d)
{
	bool flushed;
	memset(d->next, 0, d->words * sizeof *d->next);
	add_node(d->next, 0);
	return find_state(d, d->next, AROUND_END, &flushed);
}

/* After the table of states was forgotten: the state at hand again, from a copy of what it is. */
static int32_t restore_state(struct regex_dfa *d, const uint64_t *nodes, enum around before)
{
	bool flushed;
	return find_state(d, nodes, before, &flushed);
}

/* The move on a character whose symbol may be new. */
static int32_t slow_move(struct regex *r, int32_t state, uint32_t c, char *reason)
{
	struct regex_dfa *d = r->dfa;
	bool flushed = false;
	uint64_t nodes[(REGEX_NODES_MAX + 63) / 64];
	const struct state *s = state_at(d, (uint32_t)state);
	enum around before = (enum around)s->around;
	memcpy(nodes, s->nodes, d->words * sizeof *nodes);
	int32_t symbol = symbol_of(r, c, &flushed, reason);
	if (symbol < 0)
		return MOVE_FAILED;
	if (flushed)
		state = restore_state(d, nodes, before);
	int32_t to = moves_of(d, state_at(d, (uint32_t)state))[symbol];
	return to != MOVE_UNKNOWN ? to : make_move(r, state, symbol);
}

static int match(struct regex *r, const char *text, size_t n, uint64_t steps_max, char *reason)
{
	struct regex_dfa *d = r->dfa;
	int32_t state = start_state(d);
	for (const char *p = text, *end = text + n; p < end;) {
		uint32_t c = (unsigned char)*p;
		int32_t to = MOVE_UNKNOWN;
		if (c < 128) {
			p++;
			if (d->ascii[c] >= 0)
				to = moves_of(d, state_at(d, (uint32_t)state))[d->ascii[c]];
		} else {
			c = utf8_decode(&p, end);
		}
		if (to == MOVE_UNKNOWN)
			to = slow_move(r, state, c, reason);
		if (to == MOVE_MATCH)
			return 1;
		if (to == MOVE_DEAD)
			return 0;
		if (to == MOVE_FAILED)
			return -1;
		if (d->steps > steps_max) {
			snprintf(reason, WHERE_REASON_MAX, "matching the regular expression takes too much work");
			return -1;
		}
		state = to;
	}
	int32_t to = moves_of(d, state_at(d, (uint32_t)state))[SYMBOL_END];
	return (to != MOVE_UNKNOWN ? to : make_move(r, state, SYMBOL_END)) == MOVE_MATCH;
}

int regex_match(struct regex *r, const char *text, size_t n, uint64_t *steps, char reason[WHERE_REASON_MAX])
{
	if (r->dfa == NULL)
		r->dfa = dfa_new(r);
	r->dfa->steps = 0;
	int found = match(r, text, n, *steps < REGEX_STEPS_MAX ? *steps : REGEX_STEPS_MAX, reason);
	*steps = 2 * (uint64_t)n + r->dfa->steps; /* and the walk along the text */
	return found;
}

/* ---- compiling -------------------------------------------------------------------------------------------------- */

/* False if no match can start after the first character: every way from the start meets ^ or \A first. */
static bool starts_anywhere(const struct regex *r)
{
	uint32_t *stack = mem_alloc((r->nnodes + 1) * sizeof *stack), depth = 0;
	bool *seen = mem_zalloc(r->nnodes), anywhere = false;
	stack[depth++] = 0;
	seen[0] = true;
	while (depth > 0 && !anywhere) {
		uint32_t i = stack[--depth], to[2], n = 0;
		const struct regex_node *node = &r->nodes[i];
		if (node->op == NODE_SPLIT || node->op == NODE_JUMP)
			to[n++] = node->to;
		if (node->op == NODE_SPLIT || (node->op == NODE_ASSERT && node->arg != ASSERT_TEXT_START))
			to[n++] = i + 1;
		anywhere = node->op == NODE_CHAR || node->op == NODE_SET || node->op == NODE_MATCH;
		while (n > 0)
			if (!seen[to[--n]]) {
				seen[to[n]] = true;
				stack[depth++] = to[n];
			}
	}
	free(stack);
	free(seen);
	return anywhere;
}

struct regex *regex_compile(const char *pattern, size_t n, const struct where_collation *collation, unsigned flags,
                            uint64_t *steps, char reason[WHERE_REASON_MAX])
{
	struct regex *r = mem_zalloc(sizeof *r);
	r->collation = collation;
	if (regex_parse(r, pattern, n, flags, steps, reason) < 0) {
		regex_free(r);
		return NULL;
	}
	r->anchored = !starts_anywhere(r);
	return r;
}

void regex_free(struct regex *r)
{
	if (r == NULL)
		return;
	dfa_free(r->dfa);
	for (uint32_t i = 0; i < r->nsets; i++)
		free(r->sets[i].ranges);
	free(r->sets);
	free(r->literals);
	free(r->nodes);
	free(r);
}
