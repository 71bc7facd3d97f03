/* top_show.c - see top_show.h. */
#include "ops/top_show.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/require.h"

#define CELL_MAX 24
#define BEHIND_WATCH_S 15 /* as on the page: more than what passes between two reports of ours to Postgres, with nothing to do */
#define BEHIND_DANGER_S 60

/* A line that is being written, and what is left of its width. */
struct row {
	struct buf *out;
	unsigned left;
	bool colours;
};

/* ---- columns ---- */

struct range {
	uint32_t first, last;
};

/*
 * Our own, since wcwidth() depends on a locale that may not be set. In doubt a character is dropped, or has more columns than a
 * terminal gives it (one that combines has one): a line may end early, but none wraps.
 */
static const struct range dropped[] = { /* controls, and what is there to format or to turn the text around */
	{0, 0x1f}, {0x7f, 0x9f}, {0xad, 0xad}, {0x600, 0x605}, {0x61c, 0x61c}, {0x6dd, 0x6dd}, {0x70f, 0x70f}, {0x890, 0x891},
	{0x8e2, 0x8e2}, {0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff},
	{0xfff0, 0xfffb}, {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1345f}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
	{0xe0000, UINT32_MAX},
};
static const struct range wide[] = {
	{0x1100, 0x115f}, {0x231a, 0x23ff}, {0x25fd, 0x27bf}, {0x2900, 0x2bff}, {0x2e80, 0xa4cf}, {0xa960, 0xa97f}, {0xac00, 0xd7ff},
	{0xf900, 0xfaff}, {0xfe10, 0xfe19}, {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x16fe0, 0x18dff}, {0x1aff0, 0x1b2ff},
	{0x1d300, 0x1d37f}, {0x1f000, 0x1faff}, {0x20000, 0x3ffff},
};

static bool is_among(uint32_t c, const struct range *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (c >= list[i].first && c <= list[i].last)
			return true;
	return false;
}

/* Of a terminal; 0: it isn't shown. */
static unsigned columns_of(uint32_t c)
{
	if (is_among(c, dropped, sizeof dropped / sizeof dropped[0]))
		return 0;
	return is_among(c, wide, sizeof wide / sizeof wide[0]) ? 2 : 1;
}

static bool is_start(char c) { return ((unsigned char)c & 0xc0) != 0x80; }

/* The character of these bytes; 0, which isn't shown: they are none. */
static uint32_t decode(const char *p, size_t n)
{
	unsigned char first = (unsigned char)*p;
	size_t want = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf8 ? 4 : 0;
	if (n != want)
		return 0;
	uint32_t c = n == 1 ? first : first & (0x7fu >> n);
	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)p[i] & 0x3fu);
	return c;
}

/* As much of it as fits. */
static void put(struct row *r, const char *text)
{
	for (const char *p = text; *p != '\0' && r->left > 0;) {
		size_t n = 1;
		while (p[n] != '\0' && !is_start(p[n]))
			n++;
		unsigned columns = columns_of(decode(p, n));
		if (columns > r->left) {
			r->left = 0;
			return;
		}
		if (columns > 0)
			buf_put(r->out, p, n);
		r->left -= columns;
		p += n;
	}
}

void top_line(struct buf *out, const char *text, unsigned width)
{
	struct row r = {out, width, false};
	put(&r, text);
	buf_putc(out, '\n');
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

static bool is_asleep(const json_t *s) { return json_is_true(at(s, "postgres_asleep")); }

static void live_line(struct row *r, const json_t *s)
{
	bool ready = json_is_true(at(s, "ready")), away = json_is_true(at(s, "postgres_away"));
	label(r, "live");
	if (ready && is_asleep(s)) {
		paint(r, "32", "asleep");
		put(r, ": the next request wakes it");
		return;
	}
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
	double behind_s = is_asleep(s) ? 0 : figure(s, "postgres.behind_s");
	label(r, "lag");
	if (behind_s >= BEHIND_WATCH_S) {
		char text[CELL_MAX + 12];
		snprintf(text, sizeof text, "at least %s", span(cell, behind_s));
		paint(r, behind_s < BEHIND_DANGER_S ? "33" : "31", text);
		put(r, ": Postgres has WAL for us, and we have confirmed none of it for so long");
		return;
	}
	if (is_asleep(s) || !json_is_true(at(s, "ready")) || json_is_true(at(s, "postgres_away"))) {
		put(r, is_asleep(s) ? "asleep: what has changed is read when the next request wakes it"
		                    : "not known: what has changed in Postgres can't be told now");
		return;
	}
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
	if (!known(s, "postgres.wal_held_by_us_bytes")) {
		bool looked = known(s, "postgres.looked_s_ago");
		put(r, looked ? ": not looked at for " : ": nobody could look yet");
		put(r, looked ? span(cell, figure(s, "postgres.looked_s_ago")) : "");
		return;
	}
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

struct screen {
	struct buf *out;
	unsigned width, left; /* lines */
	bool colours;
};

static void add_line(struct screen *s, void (*fill)(struct row *r, const json_t *v), const json_t *v)
{
	if (s->left == 0)
		return;
	struct row r = {s->out, s->width, s->colours};
	fill(&r, v);
	buf_putc(s->out, '\n');
	s->left--;
}

static void head_line(struct row *r, const json_t *s)
{
	char uptime[64];
	snprintf(uptime, sizeof uptime, "  %.19s UTC, since %.19s", text_at(s, "now"), text_at(s, "started"));
	paint(r, "1", "Busbar ");
	put(r, text_at(s, "version"));
	put(r, uptime);
}

static void empty_line(struct row *r, const json_t *v)
{
	(void)r;
	(void)v;
}

void top_show(struct buf *out, const struct top_look *l, unsigned width, unsigned height, bool colours)
{
	static void (*const lines[])(struct row *, const json_t *) = {head_line, live_line, lag_line, wal_line, rate_line, shapes_line, clients_line};
	/* The last line of a screen stays empty, if there is more than one. */
	struct screen s = {out, width, height == 0 ? UINT_MAX : height > 1 ? height - 1 : 1, colours};
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		add_line(&s, lines[i], l->status);
	add_line(&s, refused_line, l->clients);
	add_line(&s, empty_line, NULL);
	add_line(&s, shapes_head, l->shapes);
	size_t i;
	json_t *shape;
	json_array_foreach(at(l->shapes, "shapes"), i, shape)
		add_line(&s, shape_row, shape);
}
