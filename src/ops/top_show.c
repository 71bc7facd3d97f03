/* top_show.c - see top_show.h. */
#include "ops/top_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/require.h"

#define CELL_MAX 24

/* A line that is being written, and what is left of its width. */
struct row {
	struct buf *out;
	unsigned left;
	bool colours;
};

static bool is_start(char c) { return ((unsigned char)c & 0xc0) != 0x80; }

/* As much of it as fits, a place for each character; control characters, C1's too, are left out. */
static void put(struct row *r, const char *text)
{
	for (const char *p = text; *p != '\0' && r->left > 0;) {
		size_t n = 1;
		while (p[n] != '\0' && !is_start(p[n]))
			n++;
		bool control = (unsigned char)*p < 0x20 || *p == 0x7f || (n == 2 && (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] < 0xa0);
		if (!control) {
			buf_put(r->out, p, n);
			r->left--;
		}
		p += n;
	}
}

static void paint(struct row *r, const char *colour, const char *text)
{
	if (r->colours)
		buf_printf(r->out, "\033[%sm", colour);
	put(r, text);
	if (r->colours)
		buf_puts(r->out, "\033[0m");
}

/* ---- figures ---- */

static const json_t *at(const json_t *v, const char *path)
{
	char name[40];
	while (v != NULL && *path != '\0') {
		size_t n = strcspn(path, ".");
		REQUIRE(n < sizeof name);
		memcpy(name, path, n);
		name[n] = '\0';
		v = json_object_get(v, name);
		path += n + (path[n] == '.');
	}
	return v;
}

static const char *text_at(const json_t *v, const char *path)
{
	const char *t = json_string_value(at(v, path));
	return t != NULL ? t : "";
}

static bool known(const json_t *v, const char *path) { return json_is_number(at(v, path)); }
static double figure(const json_t *v, const char *path) { return json_number_value(at(v, path)); }

static const char *put_count(char out[CELL_MAX], double n, bool is_known)
{
	snprintf(out, CELL_MAX, is_known ? "%.0f" : "-", n);
	return out;
}

static const char *count_at(char out[CELL_MAX], const json_t *v, const char *path) { return put_count(out, figure(v, path), known(v, path)); }

static const char *rate_at(char out[CELL_MAX], const json_t *v, const char *path)
{
	double n = figure(v, path);
	if (!known(v, path))
		return "-";
	snprintf(out, CELL_MAX, n > 0 && n < 10 ? "%.1f" : "%.0f", n);
	return out;
}

static const char *bytes_at(char out[CELL_MAX], const json_t *v, const char *path)
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
	double n = figure(v, path);
	unsigned i = 0;
	if (!known(v, path))
		return "-";
	for (; n >= 1000 && i + 1 < sizeof units / sizeof units[0]; i++)
		n /= 1024;
	snprintf(out, CELL_MAX, i > 0 && n < 99.95 ? "%.1f %s" : "%.0f %s", n, units[i]);
	return out;
}

static const char *ms_at(char out[CELL_MAX], const json_t *v, const char *path)
{
	double ms = figure(v, path);
	if (!known(v, path))
		return "-";
	snprintf(out, CELL_MAX, ms < 10 ? "%.1f ms" : ms < 1000 ? "%.0f ms" : "%.1f s", ms < 1000 ? ms : ms / 1000);
	return out;
}

static const char *span(char out[CELL_MAX], double s)
{
	if (s < 60)
		snprintf(out, CELL_MAX, "%.0f s", s);
	else if (s < 172800)
		snprintf(out, CELL_MAX, s < 3600 ? "%.0f min" : "%.0f h", s / (s < 3600 ? 60 : 3600));
	else
		snprintf(out, CELL_MAX, "%.0f d", s / 86400);
	return out;
}

/* ---- the lines above the shapes ---- */

static void label(struct row *r, const char *name)
{
	char padded[16];
	snprintf(padded, sizeof padded, "%-9s", name);
	paint(r, "2", padded);
}

/* "NAME figure NAME figure" of an object's fields, those that are above zero. */
static void put_fields(struct row *r, const json_t *v)
{
	const char *key;
	json_t *value;
	bool any = false;
	json_object_foreach((json_t *)v, key, value) {
		char cell[CELL_MAX];
		if (json_number_value(value) == 0)
			continue;
		put(r, any ? ", " : "");
		put(r, put_count(cell, json_number_value(value), true));
		put(r, " ");
		put(r, key);
		any = true;
	}
	if (!any)
		put(r, "none");
}

static void live_line(struct row *r, const json_t *s)
{
	bool ready = json_is_true(at(s, "ready")), away = json_is_true(at(s, "postgres_away"));
	label(r, "live");
	paint(r, ready && !away ? "32" : ready ? "33" : "31", ready && !away ? "yes" : ready ? "known shapes only" : "no");
	put(r, ": ");
	put(r, text_at(s, "status"));
	if (text_at(s, "reason_text")[0] != '\0') {
		put(r, ", ");
		put(r, text_at(s, "reason_text"));
	}
}

static void lag_line(struct row *r, const json_t *s)
{
	char cell[CELL_MAX];
	bool client = known(s, "lag.commit_to_client.p99_ms");
	label(r, "lag");
	if (!client && !known(s, "lag.commit_to_log.p99_ms")) {
		put(r, "no change in the last ");
		put(r, span(cell, figure(s, "lag.over_s")));
		return;
	}
	put(r, "99 % ");
	put(r, ms_at(cell, s, client ? "lag.commit_to_client.p99_ms" : "lag.commit_to_log.p99_ms"));
	put(r, ", half ");
	put(r, ms_at(cell, s, client ? "lag.commit_to_client.p50_ms" : "lag.commit_to_log.p50_ms"));
	put(r, client ? " to waiting clients, in " : " to the logs, in ");
	put(r, span(cell, figure(s, "lag.over_s")));
}

static void wal_line(struct row *r, const json_t *s)
{
	char cell[CELL_MAX];
	const char *state = text_at(s, "postgres.state");
	label(r, "postgres");
	paint(r, strcmp(state, "fine") == 0 ? "32" : strcmp(state, "danger") == 0 ? "31" : "33", state);
	put(r, ": WAL for us ");
	put(r, bytes_at(cell, s, "postgres.wal_held_by_us_bytes"));
	put(r, ", for others ");
	put(r, bytes_at(cell, s, "postgres.wal_held_by_others_bytes"));
	if (known(s, "postgres.wal_limit_bytes")) {
		put(r, ", limit ");
		put(r, bytes_at(cell, s, "postgres.wal_limit_bytes"));
	}
	if (text_at(s, "postgres.text")[0] != '\0') {
		put(r, "; ");
		put(r, text_at(s, "postgres.text"));
	}
}

static void rate_line(struct row *r, const json_t *s)
{
	static const char *const rates[][2] = {{"per_second.changes", " changes/s, "}, {"per_second.transactions", " transactions/s, "},
	                                       {"per_second.requests", " requests/s; "}};
	char cell[CELL_MAX];
	label(r, "rates");
	for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
		put(r, rate_at(cell, s, rates[i][0]));
		put(r, rates[i][1]);
	}
	put(r, rate_at(cell, s, "steps_per_change"));
	put(r, " steps a change");
}

static void clients_line(struct row *r, const json_t *s)
{
	char cell[CELL_MAX];
	label(r, "clients");
	put(r, count_at(cell, s, "connections"));
	put(r, " connections, waiting: ");
	put_fields(r, at(s, "waiting"));
}

static void refused_line(struct row *r, const json_t *c)
{
	char cell[CELL_MAX];
	size_t i;
	json_t *one;
	bool any = false;
	label(r, "refused");
	json_array_foreach(at(c, "refused"), i, one) {
		if (figure(one, "lately") == 0)
			continue;
		put(r, any ? ", " : "");
		paint(r, "33", count_at(cell, one, "lately"));
		put(r, " ");
		put(r, text_at(one, "reason"));
		any = true;
	}
	put(r, any ? ", in the last " : "nobody in the last ");
	put(r, span(cell, figure(c, "lately_s")));
}

static void shapes_line(struct row *r, const json_t *s)
{
	label(r, "shapes");
	put_fields(r, at(s, "shapes"));
	put(r, "; by routing: ");
	put_fields(r, at(s, "routing"));
}

/* ---- shapes ---- */

static void right(struct row *r, unsigned width, const char *text)
{
	char padded[CELL_MAX * 2];
	snprintf(padded, sizeof padded, "%*s ", (int)width, text);
	put(r, padded);
}

static void shapes_head(struct row *r, const json_t *shapes)
{
	static const struct { const char *name, *sort; unsigned width; } columns[] = {
		{"ROWS", "rows", 9}, {"BYTES", "bytes", 9}, {"READERS", "readers", 8}, {"READ", "read", 8}, {"CHANGES/S", "changes", 10}};
	if (r->colours)
		buf_puts(r->out, "\033[7m");
	for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
		char name[CELL_MAX];
		bool sorted = strcmp(text_at(shapes, "sort"), columns[i].sort) == 0;
		snprintf(name, sizeof name, "%s%s", sorted ? "*" : "", columns[i].name);
		right(r, columns[i].width, name);
	}
	put(r, "ROUTED      SHAPE");
	while (r->colours && r->left > 0)
		put(r, " ");
	if (r->colours)
		buf_puts(r->out, "\033[0m");
}

static void shape_row(struct row *r, const json_t *s)
{
	char cell[CELL_MAX], routed[16];
	right(r, 9, count_at(cell, s, "rows"));
	right(r, 9, bytes_at(cell, s, "bytes"));
	right(r, 8, count_at(cell, s, "readers"));
	right(r, 8, span(cell, figure(s, "read_s_ago")));
	right(r, 10, rate_at(cell, s, "changes_s"));
	snprintf(routed, sizeof routed, "%-11s ", text_at(s, "routing"));
	put(r, routed);
	paint(r, "1", text_at(s, "table"));
	put(r, " ");
	put(r, text_at(s, "where"));
}

/* ---- all of it ---- */

void top_show(struct buf *out, const struct top_look *l, unsigned width, unsigned height, bool colours)
{
	static void (*const lines[])(struct row *, const json_t *) = {live_line, lag_line, wal_line, rate_line, shapes_line, clients_line};
	char uptime[64];
	unsigned n = 0;
	snprintf(uptime, sizeof uptime, "  %.19s UTC, since %.19s", text_at(l->status, "now"), text_at(l->status, "started"));
	struct row head = {out, width, colours};
	paint(&head, "1", "Busbar ");
	put(&head, text_at(l->status, "version"));
	put(&head, uptime);
	buf_putc(out, '\n');
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++, n++) {
		struct row r = {out, width, colours};
		lines[i](&r, l->status);
		buf_putc(out, '\n');
	}
	struct row refused = {out, width, colours};
	refused_line(&refused, l->clients);
	buf_puts(out, "\n\n");
	struct row columns = {out, width, colours};
	shapes_head(&columns, l->shapes);
	buf_putc(out, '\n');
	n += 4; /* and the line below */
	size_t i;
	json_t *shape;
	json_array_foreach(at(l->shapes, "shapes"), i, shape) {
		if (height > 0 && n + 1 >= height)
			break;
		struct row r = {out, width, colours};
		shape_row(&r, shape);
		buf_putc(out, '\n');
		n++;
	}
}
