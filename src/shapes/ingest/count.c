/*
 * count.c - tables where rows may be equal: no primary key, and nothing that keeps whole rows apart.
 *
 * Clients hold as many rows as Postgres: the n-th of equal rows has a number in its key (keys.h), and a delete takes
 * the highest. So each shape of such a table knows how often each key is there. The thread that copies the first rows
 * counts them; until INGEST has its counts (CMD_COUNTS) what the stream brings for the shape is buffered, for no reader
 * can be beyond the snapshot. At a restart the counts are read from the logs.
 *
 * Entries get their numbers at the commit, or when they are staged; what was staged of a transaction that is lost is
 * taken back, for the stream brings it again.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/route.h"
#include "shapes/routing/keys.h"

#define UNDO_MAX 1000000u          /* 32 bytes each; beyond, a lost transaction costs its shapes */
#define NUMBER_TEXT_MAX 12

struct key_undo {
	struct txn_shape *of;
	struct key_hash key;
	bool added;
};

void counts_drop(struct shape *shape)
{
	shape->in.counting = false;
	if (shape->in.counts == NULL)
		return;
	key_counts_release(shape->in.counts, &shape->engine->keys_counted);
	shape->engine->ingest->ncounts--;
	free(shape->in.counts);
	shape->in.counts = NULL;
}

/* ---- numbers ---- */

struct renumbered {
	/* the key of the map */
	const struct line *from;
	uint32_t own, other; /* its key's number, and that of the key it names in its headers */

	struct line *to;
};

static size_t put_number(char *to, uint32_t n)
{
	return n > 1 ? (size_t)snprintf(to, NUMBER_TEXT_MAX, "/%" PRIu32, n) : 0;
}

static struct line *line_with(const struct line *from, const struct key_line *k, uint32_t own, uint32_t other)
{
	char a[NUMBER_TEXT_MAX], b[NUMBER_TEXT_MAX];
	size_t na = put_number(a, own), nb = put_number(b, other), at = k->key_end, tail = from->len - 3; /* `"}}` */
	struct line *l = mem_alloc(sizeof *l + from->len + na + nb);
	atomic_init(&l->refs, 1);
	l->len = (uint32_t)(from->len + na + nb);
	l->split = (uint32_t)(from->split + na);
	memcpy(l->text, from->text, at);
	memcpy(l->text + at, a, na);
	memcpy(l->text + at + na, from->text + at, tail - at);
	memcpy(l->text + tail + na, b, nb);
	memcpy(l->text + tail + na + nb, from->text + tail, from->len - tail);
	return l;
}

/* Shapes that need the same line share it. */
static struct line *renumber(struct ingest *in, const struct line *from, const struct key_line *k, uint32_t own, uint32_t other)
{
	struct renumbered want = {.from = from, .own = own, .other = other};
	const size_t key = offsetof(struct renumbered, to);
	struct renumbered *r = map_get(&in->renumbered, &want, key);
	if (r == NULL) {
		r = mem_alloc(sizeof *r);
		memcpy(r, &want, sizeof want);
		r->to = line_with(from, k, own, other);
		line_ref((struct line *)(uintptr_t)from); /* no other may come to its place meanwhile */
		map_put(&in->renumbered, r, key, r);
	}
	return line_ref(r->to);
}

void counts_forget_lines(struct ingest *in)
{
	struct renumbered *r;
	for (size_t i = 0; (r = map_next(&in->renumbered, &i)) != NULL;) {
		line_unref((struct line *)(uintptr_t)r->from);
		line_unref(r->to);
		free(r);
	}
	map_clear(&in->renumbered);
}

uint32_t counts_line(struct key_counts *c, const char *text, const struct key_line *k, struct key_hash *key)
{
	*key = key_hash(text + k->key_at, k->key_len);
	if (k->operation == 'i')
		return key_counts_add(c, *key);
	return k->operation == 'd' ? key_counts_take(c, *key) : key_counts_of(c, *key);
}

struct numbering {
	struct key_line line;
	uint32_t number;
};

static int count_entries(struct ingest *in, struct shape *shape, struct txn_shape *undo, const struct entry *entries, size_t n,
                         struct numbering *out, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct line *l = entries[i].line;
		struct key_hash key;
		if (!key_line_read(l->text, l->len, l->split, &out[i].line))
			return err_set(e, ERR_PROTOCOL, "a line without a key");
		out[i].number = counts_line(shape->in.counts, l->text, &out[i].line, &key);
		if (out[i].number == 0)
			return err_set(e, ERR_PROTOCOL, "a row was deleted that it didn't have: its condition may fail on some rows");
		if (undo == NULL || undo->no_undo)
			continue;
		if (in->nundo == UNDO_MAX) {
			undo->no_undo = true;
			continue;
		}
		if (in->nundo == in->undo_cap) {
			in->undo_cap = in->undo_cap ? in->undo_cap * 2 : 256;
			in->undo = mem_realloc(in->undo, in->undo_cap * sizeof *in->undo);
		}
		in->undo[in->nundo++] = (struct key_undo){undo, key, out[i].line.operation == 'i'};
	}
	return key_counts_charge(shape->in.counts, &shape->engine->keys_counted, shape->def.table, e);
}

static int number_entries(struct ingest *in, struct shape *shape, struct txn_shape *undo, struct entry *entries, size_t n,
                          struct err *e)
{
	struct numbering *all = mem_alloc(n * sizeof *all + 1);
	int rc = count_entries(in, shape, undo, entries, n, all, e);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		int64_t other = (int64_t)i + all[i].line.partner;
		uint32_t number = all[i].line.partner != 0 && other >= 0 && other < (int64_t)n ? all[other].number : 1;
		if (all[i].number == 1 && number == 1)
			continue;
		struct line *was = entries[i].line;
		entries[i].line = renumber(in, was, &all[i].line, all[i].number, number);
		line_unref(was);
	}
	free(all);
	return rc;
}

int counts_number_entries(struct ingest *in, struct shape *shape, struct entry *entries, size_t n, struct err *e)
{
	int rc = number_entries(in, shape, NULL, entries, n, e);
	counts_forget_lines(in);
	return rc;
}

bool counts_number(struct ingest *in, struct txn_shape *t, bool undo)
{
	struct err e;
	if (t->shape->in.counts == NULL || t->shape->in.counting || t->rotate || t->ncounted == t->n)
		return !t->rotate;
	int rc = number_entries(in, t->shape, undo ? t : NULL, t->entries + t->ncounted, t->n - t->ncounted, &e);
	t->ncounted = t->n;
	if (rc != 0)
		txn_rotate(in, t->shape, REASON_ROWS_UNCOUNTED, e.text);
	return rc == 0;
}

void counts_commit(struct ingest *in)
{
	for (size_t i = 0; in->ncounts > 0 && i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (t->n > 0 && t->shape->in.counts != NULL && t->shape->in.routed && !txn_filtered(in, t->shape))
			(void)counts_number(in, t, false);
	}
	counts_forget_lines(in);
}

void counts_undo(struct ingest *in)
{
	while (in->nundo > 0) {
		const struct key_undo *u = &in->undo[--in->nundo];
		struct key_counts *c = u->of->shape->in.counts;
		if (c == NULL || u->of->no_undo)
			continue;
		if (u->added)
			key_counts_take(c, u->key);
		else
			key_counts_add(c, u->key);
	}
}

void counts_txn_clear(struct ingest *in)
{
	counts_forget_lines(in);
	in->nundo = 0;
	free(in->undo);
	in->undo = NULL;
	in->undo_cap = 0;
}
