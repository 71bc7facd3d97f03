/* resolve.c - see resolve.h: the table by its name, the definition by the table. */
#include "http/resolve.h"

#include <string.h>

#include "http/condition.h"
#include "http/hold.h"
#include "http/reply.h"
#include "http/work.h"

#define NO_DATABASE "Cannot connect to the database to verify the shape. Please try again later."

static int64_t now(const struct request *r) { return r->conn->loop->now_ms; }
static bool stopping(const struct request *r) { return r->conn->loop->stopping; }

/* The table by look-up. An outage while the service isn't active is waited out with it. */
static enum step look_up(struct request *r, const struct def_table_name *name, struct pg_table **table)
{
	struct shapes *s = r->http->shapes;
	struct arena *a = &r->conn->loop->scratch;
	struct def_error complaint;
	struct err e;
	for (int tries = 0; tries < 2; tries++) {
		if (r->lookup == NULL)
			r->lookup = shapes_table_lookup(s, name->schema, name->name);
		err_clear(&e);
		request_cancel(r);
		int result = table_lookup_result(r->lookup, &r->waiter, table, &e);
		if (result == 0)
			return STEP_NEXT;
		bool active = shapes_status(s) == SHAPES_ACTIVE;
		if (result == 1) {
			def_no_such_table(a, name, &complaint);
			return reply_error(r, complaint.field, complaint.text);
		}
		if (result == 2) {
			int64_t until = r->began_ms + (active ? TABLE_LOOKUP_MAX_MS : READY_HOLD_MS);
			if (now(r) < until && !stopping(r))
				return request_park(r, until);
			if (!active) {
				request_drop_lookup(r);
				return hold_ready(r);
			}
			return reply_message(r, 503, NO_DATABASE, 1, false);
		}
		if (active && e.kind == ERR_PG)
			return reply_error(r, "table", e.text);
		if (active && e.kind == ERR_TIMEOUT)
			return reply_message(r, 503, e.text, 5, false);
		request_drop_lookup(r);
		enum step step = hold_ready(r);
		if (step != STEP_NEXT)
			return step;
	}
	return reply_message(r, 503, NO_DATABASE, 1, false);
}

enum step resolve_def(struct request *r, const struct shape_params *p, const struct shape *known,
                      struct shape_def *def)
{
	struct arena *a = &r->conn->loop->scratch;
	struct def_table_name name;
	struct def_error complaint;
	struct pg_table *table = NULL;
	if (def_parse_table(a, p->table, p->table_len, &name, &complaint) < 0)
		return reply_error(r, complaint.field, complaint.text);
	if (known != NULL) {
		struct pg_table *t = shape_definition(known)->table;
		if (strcmp(t->schema, name.schema) == 0 && strcmp(t->name, name.name) == 0)
			table = t;
	}
	if (table == NULL) {
		enum step step = look_up(r, &name, &table);
		if (step != STEP_NEXT)
			return step;
	}
	if (def_build(a, table, &p->def, shapes_server_version(r->http->shapes), def, &complaint) < 0)
		return reply_error(r, complaint.field, complaint.text);
	struct params_errors errors = {.count = 0};
	if (condition_apply(r->conn->loop->work->conditions, a, p, def, &errors) != 0) {
		shape_def_clear(def);
		return reply_errors(r, &errors);
	}
	if (def_check_rights(a, def, r->http->config->pooled_database.user, &complaint) == 0)
		return STEP_NEXT;
	shape_def_clear(def);
	return reply_error(r, complaint.field, complaint.text);
}
