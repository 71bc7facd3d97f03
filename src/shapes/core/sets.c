/*
 * sets.c - see sets.h.
 *
 * Texts, for each subquery in the order of their numbers: u32 rows, then for each value of each row u32 length (UINT32_MAX: null)
 * and its bytes. How many values a row has the condition says.
 */
#include "shapes/core/sets.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/def.h"

#define TEXTS_MAX (SETS_BYTES_MAX + (6u << 20)) /* with their lengths: a shape's record has them, and has room for more */

/* ---- a condition taken apart ------------------------------------------------------------------------------ */

static void plan_walk(struct sets_plan *p, const struct where *w)
{
	for (size_t i = 0; i < where_subqueries(w); i++) {
		plan_walk(p, where_subquery(w, i));
		REQUIRE(p->n < WHERE_SUBQUERIES_MAX); /* no condition has more */
		p->steps[p->n].around = w;
		p->steps[p->n++].at = i;
	}
}

struct sets_plan *sets_plan_new(const struct shape_def *d, struct err *e)
{
	struct where *w;
	REQUIRE(d->has_subqueries);
	if (def_load_where(d, &w, e) != 0)
		return NULL;
	struct sets_plan *p = mem_zalloc(sizeof *p);
	p->where = w;
	plan_walk(p, w);
	return p;
}

static void plan_free(struct sets_plan *p)
{
	if (p == NULL)
		return;
	where_free(p->where);
	free(p);
}

static size_t width(const struct sets_plan *p, size_t i) { return where_subquery_width(p->steps[i].around, p->steps[i].at); }

static const struct where_type *const *types(const struct sets_plan *p, size_t i)
{
	return where_subquery_types(p->steps[i].around, p->steps[i].at);
}

/* ---- texts ------------------------------------------------------------------------------------------------- */

static void put_u32(struct buf *b, uint32_t v) { buf_put(b, &v, sizeof v); }

static bool get_u32(const char **p, const char *end, uint32_t *out)
{
	if ((size_t)(end - *p) < sizeof *out)
		return false;
	memcpy(out, *p, sizeof *out);
	*p += sizeof *out;
	return true;
}

static int damaged(struct err *e) { return err_set(e, ERR_DAMAGED, "store: the values of a condition's subqueries are damaged"); }

/* Points into the texts; `out` has a set for each number, whose values are the arena's. */
static int decode(const struct sets_plan *p, const char *texts, size_t len, struct arena *mem, struct where_set *out, struct err *e)
{
	const char *at = texts, *end = texts + len;
	for (size_t i = 0; i < p->n; i++) {
		uint32_t rows, n;
		size_t w = width(p, i);
		if (!get_u32(&at, end, &rows) || rows > SET_ROWS_MAX || (size_t)(end - at) / sizeof n < rows * w)
			return damaged(e);
		struct where_text_value *values = arena_alloc(mem, (rows * w + 1) * sizeof *values);
		for (size_t k = 0; k < rows * w; k++) {
			if (!get_u32(&at, end, &n) || (n != UINT32_MAX && (size_t)(end - at) < n))
				return damaged(e);
			values[k] = n == UINT32_MAX ? (struct where_text_value){NULL, 0} : (struct where_text_value){at, n};
			at += n == UINT32_MAX ? 0 : n;
		}
		out[i] = (struct where_set){rows, values};
	}
	return at == end ? 0 : damaged(e);
}

/* ---- with constants ------------------------------------------------------------------------------------------ */

static int too_long(struct err *e)
{
	return err_set(e, ERR_REQUEST, "the condition is longer than %u MB with what its subqueries select. Narrow them by a condition of their own",
	               WHERE_BOUND_MAX >> 20);
}

/* The condition `w`, of the plan or inside it. */
static int bind_one(const struct sets_plan *p, const struct where *w, const struct where_set *all, struct where **out, struct err *e)
{
	struct where_set own[WHERE_SUBQUERIES_MAX];
	size_t n = 0;
	for (size_t i = 0; i < p->n; i++)
		if (p->steps[i].around == w)
			own[n++] = all[i];
	struct buf text = BUF_INIT(WHERE_BOUND_MAX);
	where_bind(w, own, &text);
	/* Every part of it was read before: what can be wrong with the whole is its size. */
	int rc = !text.failed && where_load(where_table(w), NULL, text.data, text.len, out, e) == 0 ? 0 : too_long(e);
	buf_clear(&text);
	return rc;
}

static int bind_all(struct sets *s, const struct where_set *all, struct err *e)
{
	s->bound = mem_zalloc((s->n + 1) * sizeof(struct where *));
	for (size_t i = 0; i < s->n; i++)
		if (bind_one(s->plan, sets_plan_inner(s->plan, i), all, &s->bound[i], e) != 0)
			return -1;
	return bind_one(s->plan, s->plan->where, all, &s->bound[s->n], e);
}

int sets_where_sql(const struct shape_def *d, const char *texts, size_t len, struct buf *out, struct err *e)
{
	struct where_set all[WHERE_SUBQUERIES_MAX];
	struct arena mem = ARENA_INIT;
	struct where *w = NULL;
	struct sets_plan *p = sets_plan_new(d, e);
	int rc = p == NULL ? -1 : decode(p, texts, len, &mem, all, e);
	if (rc == 0)
		rc = bind_one(p, p->where, all, &w, e);
	if (rc == 0)
		where_sql(w, out);
	if (rc == 0 && out->failed)
		rc = err_set(e, ERR_LIMIT, "the shape's condition is too long as SQL");
	where_free(w);
	plan_free(p);
	arena_clear(&mem);
	return rc;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

struct sets *sets_new(struct sets_plan *plan)
{
	struct sets *s = mem_zalloc(sizeof *s);
	s->plan = plan;
	s->n = plan->n;
	buf_init(&s->texts, TEXTS_MAX);
	s->bags = mem_zalloc((s->n + 1) * sizeof(struct where_bag *));
	for (size_t i = 0; i < s->n; i++)
		s->bags[i] = where_bag_new(types(plan, i), (uint32_t)width(plan, i));
	return s;
}

/* One of a row's values, by the type that is compared. */
static int read_value(const struct where_type *t, const struct where_text_value *v, struct arena *mem, struct where_value *out, struct err *e)
{
	struct where_call call = {.mem = mem, .result = t, .typmod = -1, .printed = true};
	*out = where_null();
	if (v->p == NULL || where_in(&call, t, v->p, v->len, out) == 0)
		return 0;
	return err_set(e, ERR_REQUEST, "a value that a subquery of this condition selects cannot be read: %s", call.reason);
}

/* How often the row is there; NULL: `e`. */
static int64_t *count_of(struct sets *s, size_t i, const struct where_text_value *row, bool *made, struct err *e)
{
	size_t n = width(s->plan, i);
	struct arena mem = ARENA_INIT;
	struct where_value *values = arena_alloc(&mem, (n + 1) * sizeof *values);
	char reason[WHERE_REASON_MAX] = "";
	int64_t *count = NULL;
	int rc = 0;
	for (size_t k = 0; k < n && rc == 0; k++)
		rc = read_value(types(s->plan, i)[k], &row[k], &mem, &values[k], e);
	if (rc == 0 && (count = where_bag_count(s->bags[i], types(s->plan, i), values, made, reason)) == NULL)
		err_set(e, ERR_REQUEST, "a value that a subquery of this condition selects cannot be compared: %s", reason);
	arena_clear(&mem);
	return count;
}

static int take_row(struct sets *s, size_t i, const struct where_text_value *row, int64_t times, bool *made, struct err *e)
{
	int64_t *count = count_of(s, i, row, made, e);
	if (count == NULL)
		return -1;
	*count = times == SET_COUNT_LOST ? SET_COUNT_LOST : *count + times;
	if (where_bag_rows(s->bags[i]) > SET_ROWS_MAX)
		return err_set(e, ERR_REQUEST, "a subquery of this condition selects more than %d different values. Narrow it by a condition of its own",
		               SET_ROWS_MAX);
	return 0;
}

/* The subqueries' texts up to this one have their place. */
static void open_step(struct sets *s, size_t i)
{
	while (s->opened <= i) {
		s->counted_at = s->texts.len;
		put_u32(&s->texts, 0);
		s->opened++;
	}
}

static int too_many(struct err *e)
{
	return err_set(e, ERR_REQUEST, "the subqueries of this condition select more than %u MB of values. Narrow them by a condition of their own",
	               SETS_BYTES_MAX >> 20);
}

/* Writes the row down, which is new. */
static int note_row(struct sets *s, size_t i, const struct where_text_value *row, struct err *e)
{
	uint32_t rows;
	REQUIRE(i + 1 == s->opened); /* number by number */
	memcpy(&rows, s->texts.data + s->counted_at, sizeof rows);
	rows++;
	memcpy(s->texts.data + s->counted_at, &rows, sizeof rows);
	for (size_t k = 0; k < width(s->plan, i); k++) {
		put_u32(&s->texts, row[k].p == NULL ? UINT32_MAX : (uint32_t)row[k].len);
		if (row[k].p != NULL)
			buf_put(&s->texts, row[k].p, row[k].len);
		s->bytes += row[k].p == NULL ? 0 : row[k].len;
	}
	return s->texts.failed || s->bytes > SETS_BYTES_MAX ? too_many(e) : 0;
}

int sets_put(struct sets *s, size_t i, const struct where_text_value *row, int64_t times, struct err *e)
{
	bool made = false;
	REQUIRE(i < s->n && s->bound == NULL);
	open_step(s, i);
	if (take_row(s, i, row, times, &made, e) != 0)
		return -1;
	return made ? note_row(s, i, row, e) : 0;
}

int sets_finish(struct sets *s, struct err *e)
{
	struct where_set all[WHERE_SUBQUERIES_MAX];
	struct arena mem = ARENA_INIT;
	if (s->n > 0)
		open_step(s, s->n - 1);
	int rc = decode(s->plan, s->texts.data, s->texts.len, &mem, all, e);
	if (rc == 0)
		rc = bind_all(s, all, e);
	arena_clear(&mem);
	return rc;
}

int sets_restore(const struct shape_def *d, const char *texts, size_t len, struct sets **out, struct err *e)
{
	struct where_set all[WHERE_SUBQUERIES_MAX];
	struct arena mem = ARENA_INIT;
	struct sets_plan *p = sets_plan_new(d, e);
	if (p == NULL)
		return -1;
	struct sets *s = sets_new(p);
	int rc = decode(p, texts, len, &mem, all, e);
	for (size_t i = 0; rc == 0 && i < s->n; i++)
		for (size_t k = 0; rc == 0 && k < all[i].nrows; k++) {
			bool made;
			rc = take_row(s, i, all[i].values + k * width(p, i), SET_COUNT_LOST, &made, e);
		}
	if (rc == 0)
		rc = bind_all(s, all, e);
	arena_clear(&mem);
	if (rc != 0) {
		sets_free(s);
		return -1;
	}
	buf_put(&s->texts, texts, len);
	*out = s;
	return 0;
}

/* What is kept as long as the shape, of which there may be many thousands, takes what it needs. */
static void trim(struct sets *s)
{
	for (size_t i = 0; i < s->n; i++)
		where_bag_trim(s->bags[i]);
	buf_trim(&s->texts);
}

void sets_unbind(struct sets *s)
{
	for (size_t i = 0; s->bound != NULL && i <= s->n; i++)
		where_free(s->bound[i]);
	free(s->bound);
	s->bound = NULL;
	plan_free(s->plan);
	s->plan = NULL;
}

int sets_charge(struct sets *s, _Atomic size_t *all, size_t max, struct err *e)
{
	trim(s);
	size_t n = s->texts.len;
	for (size_t i = 0; i < s->n; i++)
		n += where_bag_bytes(s->bags[i]);
	REQUIRE(s->charged_to == NULL);
	s->charged_to = all;
	s->charged = n;
	if (atomic_fetch_add(all, n) + n <= max)
		return 0;
	return err_set(e, ERR_LIMIT, "what the subqueries of all shapes select takes more than %zu MB. Delete shapes that nobody needs, or "
	               "narrow their subqueries", max >> 20);
}

void sets_free(struct sets *s)
{
	if (s == NULL)
		return;
	sets_unbind(s);
	if (s->charged_to != NULL)
		atomic_fetch_sub(s->charged_to, s->charged);
	for (size_t i = 0; i < s->n; i++)
		where_bag_free(s->bags[i]);
	free(s->bags);
	buf_clear(&s->texts);
	free(s);
}

bool sets_same(const struct sets *a, const struct sets *b)
{
	REQUIRE(a->n == b->n);
	for (size_t i = 0; i < a->n; i++)
		if (!where_bag_same_rows(a->bags[i], b->bags[i]))
			return false;
	return true;
}
