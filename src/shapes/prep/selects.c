/*
 * selects.c - what the subqueries of a shape's condition select, read in the snapshot that is open.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "pg/query.h"
#include "pg/snapshot.h"
#include "shapes/core/engine.h"
#include "shapes/core/sets.h"
#include "shapes/prep/prep.h"

/* One subquery that is being read. */
struct reading {
	struct sets *sets;
	size_t number, width;
	bool ignores_nulls; /* rows with one aren't in it */
	struct buf raw; /* values with their escapes undone */
	struct where_text_value *values;
};

static void raw_values(struct reading *r, const struct pg_copy_value *values)
{
	buf_reset(&r->raw);
	for (size_t i = 0; i < r->width; i++) {
		size_t at = r->raw.len;
		pg_copy_raw(&r->raw, values[i]);
		r->values[i] = (struct where_text_value){NULL, r->raw.len - at};
	}
	const char *p = r->raw.data;
	for (size_t i = 0; i < r->width; p += r->values[i++].len)
		r->values[i].p = PG_COPY_IS_NULL(values[i]) ? NULL : p != NULL ? p : "";
}

static bool has_null(const struct reading *r, const struct pg_copy_value *values)
{
	size_t i = 0;
	while (i < r->width && !PG_COPY_IS_NULL(values[i]))
		i++;
	return i < r->width;
}

static int take_row(void *ctx, const struct pg_copy_value *values, struct err *e)
{
	struct reading *r = ctx;
	if (r->ignores_nulls && has_null(r, values))
		return 0;
	raw_values(r, values);
	if (r->raw.failed)
		return err_set(e, ERR_REQUEST, "a value that a subquery of this condition selects is too large");
	return sets_put(r->sets, r->number, r->values, 1, e);
}

/* Only whether there are rows matters. */
static int take_number(void *ctx, const struct pg_copy_value *values, struct err *e)
{
	struct reading *r = ctx;
	int64_t n = strtoll(values[0].data, NULL, 10);
	return n > 0 ? sets_put(r->sets, r->number, r->values, n, e) : 0;
}

static int read_one(struct reading *r, PGconn *conn, const struct sets_plan *plan, bool (*cancelled)(void *), void *cancel_ctx, struct err *e)
{
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	const struct where *around = plan->steps[r->number].around;
	size_t at = plan->steps[r->number].at;
	r->width = where_subquery_width(around, at);
	r->ignores_nulls = where_subquery_ignores_nulls(around, at);
	r->values = mem_alloc((r->width + 1) * sizeof *r->values);
	if (r->width == 0)
		buf_puts(&sql, "SELECT pg_catalog.count(*) FROM (");
	where_subquery_sql(around, at, &sql);
	if (r->width == 0)
		buf_puts(&sql, ") AS selected");
	int rc = sql.failed ? err_set(e, ERR_REQUEST, "a subquery of this condition is too long as SQL")
	                    : pg_snapshot_select(conn, sql.data, r->width == 0 ? 1 : (uint16_t)r->width, r->width == 0 ? take_number : take_row, r,
	                                         cancelled, cancel_ctx, e);
	free(r->values);
	buf_clear(&sql);
	return rc;
}

int selects_read(PGconn *conn, const struct shape *shape, bool (*cancelled)(void *), void *cancel_ctx, struct sets **out, struct err *e)
{
	struct sets_plan *plan = sets_plan_new(&shape->def, e);
	if (plan == NULL)
		return -1;
	struct reading r = {.sets = sets_new(plan)};
	buf_init(&r.raw, PG_SQL_MAX_BYTES);
	int rc = 0;
	for (; rc == 0 && r.number < plan->n; r.number++)
		rc = read_one(&r, conn, plan, cancelled, cancel_ctx, e);
	if (rc == 0)
		rc = sets_finish(r.sets, e);
	if (rc == 0)
		rc = sets_charge(r.sets, &shape->engine->sets_bytes, SETS_ALL_BYTES_MAX, e);
	buf_clear(&r.raw);
	if (rc != 0) {
		sets_free(r.sets);
		return -1;
	}
	*out = r.sets;
	return 0;
}
