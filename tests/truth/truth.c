/*
 * truth.c - does our evaluation of conditions agree with Postgres?
 *
 *   truth [--url URL] [--seed N] [--expressions N] [--seconds N] [--verbose] [--expression TEXT] [--conditions N]
 *
 * Makes random tables, rows of edge values and random expressions (gen.h). Each expression is parsed and
 * evaluated by src/where on the rows as pgoutput sends them, and compared row by row, true, false, null or
 * error, or the text of its value, with Postgres's answer to
 *   - the original text, parameters and all,
 *   - the SQL that we write for it (where_sql),
 * and with what its stored form (where_canonical, where_load) gives. What Postgres refuses we must refuse;
 * what we refuse and Postgres takes is no difference, but counted by reason and printed at the end.
 *
 * --conditions prints as many random ones for the end-to-end tests, and leaves their table in the database.
 * --expression prints what both say of one expression of any type on the rows of the seed's first table.
 *
 * Evaluation follows PostgreSQL 15, where majors differ; with another one differences are printed but not counted.
 *
 * URL: BUSBAR_TEST_DATABASE_URL if not given; a superuser's, wal_level logical; schema truth is ours. The
 * seed is printed; the same seed makes the same tables and expressions. Ends with
 * "truth: N passed, N failed": comparisons of one expression on one row.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "table.h"
#include "where/build.h"

#define BATCH 24 /* expressions that share a pool */
#define EXPRESSIONS_PER_TABLE 1500
#define REPORTS_MAX 60 /* differences that are printed in full */
#define SHRINK_MAX 60  /* pieces that are tried to find the smallest that differs */
#define STUCK_S 60

/* An expression, ours and Postgres's view of it. */
#define EMITTED_MAX 1500 /* bytes: a condition must fit in a URL */

struct subject {
	char *text;   /* the expression */
	bool as_text; /* its value as text is compared, not a condition's truth */
	bool lazy, loose;
	char *params[GEN_PARAMS_MAX];
	size_t nparams;
	struct gen_span spans[GEN_SPANS_MAX];
	size_t nspans;

	struct where *w, *loaded;
	const struct where_node *node, *loaded_node; /* what is evaluated */
	uint32_t id, loaded_id;
	char refusal[WHERE_MESSAGE_MAX]; /* why we don't take it; "" if we do */
	bool constant_fails, in_pool; /* in_pool: the stored form too */
	struct outcome ours[TABLE_ROWS], stored[TABLE_ROWS];
};

static struct {
	unsigned long long passed, failed, skipped, expressions, accepted, refused_by_both, refused_by_us, errors_agreed,
		errors_missed, values, nulls;
} counts;
static struct map refusals = MAP_INIT, signatures = MAP_INIT; /* text -> struct tally */
static unsigned reports;
static bool verbose;
static PGconn *conn;
static struct table table;
static struct gen gen;
static const char *volatile current = "nothing"; /* for the message of a crash */

struct tally {
	unsigned long long n;
	char *key, *example;
};

static unsigned long long tally(struct map *m, const char *key, const char *example)
{
	struct tally *t = map_get(m, key, strlen(key));
	if (!t) {
		t = mem_zalloc(sizeof *t);
		t->key = mem_strdup(key);
		t->example = mem_strdup(example);
		map_put(m, t->key, strlen(t->key), t);
	}
	return ++t->n;
}

/* ---- ours ------------------------------------------------------------------------------------------- */

static bool fetch(void *ctx, uint16_t column, struct where_text *out)
{
	*out = ((const struct where_text *)ctx)[column];
	return true;
}

/* What the client would send: the expression's text form is looked at below a null test. */
static char *condition_of(const struct subject *s)
{
	struct buf text = BUF_INIT(1 << 20);
	buf_printf(&text, s->as_text ? "((%s)::text) IS NULL" : "%s", s->text);
	return buf_detach(&text, NULL);
}

static const struct where_node *looked_at(const struct subject *s, const struct where *w)
{
	const struct where_node *root = where_root(w);
	return s->as_text && root->kind == WHERE_IS_NULL ? root->args[0] : root;
}

static void load_again(struct subject *s)
{
	struct buf stored = BUF_INIT(1 << 24), again = BUF_INIT(1 << 24);
	struct err e;
	where_canonical(s->w, &stored);
	if (where_load(table.catalog, NULL, stored.data, stored.len, &s->loaded, &e) != 0) {
		printf("difference: where_load refuses what where_canonical wrote: %s\n  expression %s\n  canonical %s\n",
		       e.text, s->text, stored.data);
		counts.failed++;
		s->loaded = NULL;
	} else {
		where_canonical(s->loaded, &again);
		if (again.len == stored.len && memcmp(again.data, stored.data, stored.len) == 0)
			counts.passed++;
		else {
			printf("difference: canonical text isn't the same after loading\n  expression %s\n  %s\n  %s\n", s->text,
			       stored.data, again.data);
			counts.failed++;
		}
		s->loaded_node = looked_at(s, s->loaded);
	}
	buf_clear(&stored);
	buf_clear(&again);
}

static void parse(struct subject *s, bool load)
{
	struct where_param params[GEN_PARAMS_MAX];
	for (size_t i = 0; i < s->nparams; i++)
		params[i] = (struct where_param){s->params[i], strlen(s->params[i])};
	char *text = condition_of(s);
	current = text;
	alarm(STUCK_S);
	if (where_parse(table.catalog, NULL, text, strlen(text), &(struct where_params){params, s->nparams}, NULL, false, &s->w,
	                s->refusal) != 0) {
		s->w = NULL;
		if (s->refusal[0] == '\0')
			snprintf(s->refusal, sizeof s->refusal, "(no message)");
	} else {
		s->refusal[0] = '\0';
		s->node = looked_at(s, s->w);
		if (load)
			load_again(s);
	}
	alarm(0);
	current = "nothing";
	free(text);
}

static struct outcome outcome_of(struct where_pool *pool, uint32_t id)
{
	const struct where_value *v = where_pool_eval(pool, id);
	if (v->is == WHERE_NULL)
		return (struct outcome){OUTCOME_NULL, NULL};
	if (v->is == WHERE_ERROR)
		return (struct outcome){OUTCOME_ERROR, mem_strdup(where_pool_reason(pool))};
	const struct where_type *type = where_pool_type(pool, id);
	if (type->oid == OID_BOOL)
		return (struct outcome){OUTCOME_VALUE, mem_strdup(v->u.i ? "t" : "f")};
	return (struct outcome){OUTCOME_VALUE, mem_strndup(v->u.p, v->len)};
}

static void all_fail(struct outcome rows[TABLE_ROWS], const char *reason)
{
	for (int i = 0; i < TABLE_ROWS; i++)
		rows[i] = (struct outcome){OUTCOME_ERROR, mem_strdup(reason)};
}

static void add_to_pool(struct subject *s, struct where_pool *pool)
{
	char reason[WHERE_REASON_MAX];
	if (!s->w)
		return;
	current = s->text;
	if (where_pool_add(pool, s->node, &s->id, reason) != 0) {
		/* Whatever the row: such a shape isn't made. */
		all_fail(s->ours, reason);
		snprintf(s->refusal, sizeof s->refusal, "constant part: %s", reason);
		s->constant_fails = true;
	}
	if (s->loaded && where_pool_add(pool, s->loaded_node, &s->loaded_id, reason) != 0)
		all_fail(s->stored, reason);
	else
		s->in_pool = s->loaded != NULL;
	where_free(s->loaded); /* as the daemon does: the pool needs nothing of the tree */
	s->loaded = NULL;
}

/* As the stream does it: row by row, all expressions of the pool. */
static void evaluate(struct subject *subjects, size_t n, struct where_pool *pool)
{
	for (size_t i = 0; i < n; i++)
		add_to_pool(&subjects[i], pool);
	for (int row = 0; row < TABLE_ROWS; row++) {
		where_pool_row(pool, fetch, table.rows[row]);
		for (size_t i = 0; i < n; i++) {
			struct subject *s = &subjects[i];
			if (!s->w)
				continue;
			current = s->text;
			alarm(STUCK_S);
			if (!s->constant_fails)
				s->ours[row] = outcome_of(pool, s->id);
			if (s->in_pool)
				s->stored[row] = outcome_of(pool, s->loaded_id);
		}
	}
	alarm(0);
	current = "nothing";
}

static void subject_clear(struct subject *s)
{
	outcomes_clear(s->ours);
	outcomes_clear(s->stored);
	where_free(s->w);
	where_free(s->loaded);
	for (size_t i = 0; i < s->nparams; i++)
		free(s->params[i]);
	free(s->text);
	memset(s, 0, sizeof *s);
}

/* ---- comparing -------------------------------------------------------------------------------------- */

static const char *shown(const struct outcome *o)
{
	static char texts[4][600];
	static unsigned turn;
	char *text = texts[turn++ % 4];
	static const char *const kinds[] = {"null", "value", "error", "skipped"};
	if (o->text)
		snprintf(text, sizeof *texts, "%s %s", kinds[o->kind], o->text);
	else
		snprintf(text, sizeof *texts, "%s", kinds[o->kind]);
	return text;
}

static bool same(const struct outcome *a, const struct outcome *b)
{
	if (a->kind != b->kind)
		return false;
	return a->kind != OUTCOME_VALUE || strcmp(a->text, b->text) == 0;
}

enum verdict { SAME, SKIPPED, DIFFERENT };

static enum verdict judge(const struct outcome *postgres, const struct outcome *ours, bool loose)
{
	if (postgres->kind == OUTCOME_SKIP)
		return SKIPPED;
	if (same(postgres, ours))
		return SAME;
	/* Where the answer is of the moment or of the server's version, ours says so (docs/where.md). */
	/* json has no equality; how much of an array of json is looked at before that is noticed means nothing. */
	static const char no_equality[] = "equality operator for type json";
	if ((postgres->kind == OUTCOME_ERROR && strstr(postgres->text, no_equality)) ||
	    (ours->kind == OUTCOME_ERROR && strstr(ours->text, no_equality)))
		return SKIPPED;
	static const char *const refusals_at_run_time[] = {
		"current time",
		"need its rules", /* time zones */
		"depends on the version of PostgreSQL",
		"a \"char\" of zero", /* the type "char" beyond ASCII */
		"not supported in ",  /* patterns that come from a row */
		"known to the database only",
		"is not known here", /* order and case under ICU */
	};
	for (size_t i = 0; ours->kind == OUTCOME_ERROR && i < sizeof refusals_at_run_time / sizeof *refusals_at_run_time;
	     i++)
		if (strstr(ours->text, refusals_at_run_time[i]))
			return SKIPPED;
	if (loose && ours->kind == OUTCOME_ERROR)
		return SKIPPED;
	return DIFFERENT;
}

static char *expression_for_postgres(const struct subject *s)
{
	struct buf text = BUF_INIT(1 << 20);
	bool value = s->as_text && s->node && where_root(s->w) != s->node;
	/* A condition must be a bool, as after WHERE. */
	buf_printf(&text, !s->as_text ? "(%s) AND true" : value || !s->w ? "(%s)::text" : "((%s)::text) IS NULL", s->text);
	return buf_detach(&text, NULL);
}

/* The expression's text without what varies: names the kind of a difference. */
static char *signature_of(const char *text)
{
	struct buf out = BUF_INIT(1 << 20);
	for (const char *p = text; *p; p++) {
		if (*p == '\'') {
			while (*p && *++p != '\'')
				;
			buf_putc(&out, '\'');
			if (!*p)
				break;
		} else if (*p >= '0' && *p <= '9') {
			if (!out.len || out.data[out.len - 1] != '0')
				buf_putc(&out, '0');
		} else if (!(*p == ' ' || *p == '\n'))
			buf_putc(&out, *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p);
	}
	if (out.len > 70)
		out.len = 70;
	buf_putc(&out, '\0');
	return buf_detach(&out, NULL);
}

static void print_params(const struct subject *s)
{
	for (size_t i = 0; i < s->nparams; i++)
		printf("    $%zu = '%s'\n", i + 1, s->params[i]);
}

static void print_columns(const struct where *w, int row)
{
	for (uint16_t i = 0; w && i < table.catalog->ncolumns; i++)
		if (where_uses(w, i)) {
			const struct where_text *t = &table.rows[row][i];
			printf("    %s %s = %s%.*s%s\n", table.catalog->columns[i].name, table.catalog->columns[i].type_name,
			       t->null ? "" : "'", t->null ? 4 : (int)t->len, t->null ? "NULL" : t->p, t->null ? "" : "'");
		}
}

/* Which parameter starts here, or -1; dollar quotes aren't parameters. */
static int param_at(const char *start, const char *p, size_t nparams)
{
	bool alone = p == start ||
	             !(p[-1] == '$' || p[-1] == '_' || (p[-1] >= '0' && p[-1] <= '9') || (p[-1] >= 'a' && p[-1] <= 'z'));
	return *p == '$' && alone && p[1] >= '1' && (size_t)(p[1] - '1') < nparams ? p[1] - '1' : -1;
}

/* A piece with the parameters that it has of the whole, numbered from 1 again. */
static void cut_piece(struct subject *s, const struct subject *whole, const char *text)
{
	struct buf out = BUF_INIT(1 << 20);
	size_t number[GEN_PARAMS_MAX] = {0};
	*s = (struct subject){.as_text = true};
	for (const char *start = text; *text; text++) {
		int i = param_at(start, text, whole->nparams);
		if (i < 0) {
			buf_putc(&out, *text);
			continue;
		}
		if (number[i] == 0) {
			s->params[s->nparams] = mem_strdup(whole->params[i]);
			number[i] = ++s->nparams;
		}
		buf_printf(&out, "$%zu", number[i]);
		text++;
	}
	s->text = buf_detach(&out, NULL);
}

/* Ours and Postgres's answers to a piece by itself; false: one of us refuses it. */
static bool ask_piece(const struct subject *whole, const struct gen_span *span, struct subject *s,
                      struct outcome answers[TABLE_ROWS])
{
	char *refusal, *text = mem_strndup(whole->text + span->start, span->end - span->start);
	cut_piece(s, whole, text);
	free(text);
	parse(s, false);
	if (!s->w)
		return false;
	struct where_pool *pool = where_pool_new(table.catalog);
	evaluate(s, 1, pool);
	where_pool_free(pool);
	char *expression = expression_for_postgres(s);
	bool taken = table_ask(conn, expression, s->params, s->nparams, answers, &refusal) == 0;
	free(expression);
	free(refusal);
	return taken;
}

static struct outcome outcome_copy(const struct outcome *o)
{
	return (struct outcome){o->kind, o->text ? mem_strdup(o->text) : NULL};
}

/* Does this piece differ on the row? Sets what both say. */
static bool piece_differs(const struct subject *whole, const struct gen_span *span, int row, struct outcome *postgres,
                          struct outcome *ours, struct subject *s)
{
	struct outcome answers[TABLE_ROWS];
	if (!ask_piece(whole, span, s, answers))
		return false;
	bool differs = judge(&answers[row], &s->ours[row], whole->loose) == DIFFERENT;
	if (differs) {
		*postgres = outcome_copy(&answers[row]);
		*ours = outcome_copy(&s->ours[row]);
	}
	outcomes_clear(answers);
	return differs;
}

/* On which rows a part of it fails, for both of us. */
static void failing_parts(const struct subject *whole, bool fails[TABLE_ROWS])
{
	memset(fails, 0, TABLE_ROWS * sizeof *fails);
	for (size_t i = 0; i < whole->nspans; i++) {
		struct outcome answers[TABLE_ROWS];
		struct subject s = {0};
		if (whole->spans[i].end - whole->spans[i].start < strlen(whole->text) &&
		    ask_piece(whole, &whole->spans[i], &s, answers)) {
			for (int row = 0; row < TABLE_ROWS; row++)
				fails[row] |= answers[row].kind == OUTCOME_ERROR && s.ours[row].kind == OUTCOME_ERROR;
			outcomes_clear(answers);
		}
		subject_clear(&s);
	}
}

static int by_length(const void *a, const void *b)
{
	const struct gen_span *x = a, *y = b;
	uint32_t m = x->end - x->start, n = y->end - y->start;
	return (m > n) - (m < n);
}

static void report(struct subject *s, const char *what, int row, const struct outcome *postgres,
                   const struct outcome *ours)
{
	struct subject piece = {0};
	struct outcome theirs = {OUTCOME_NULL, NULL}, mine = {OUTCOME_NULL, NULL};
	char *smallest = NULL;
	if (signatures.len < 400) {
		qsort(s->spans, s->nspans, sizeof *s->spans, by_length);
		for (size_t i = 0; i < s->nspans && i < SHRINK_MAX && !smallest; i++) {
			if (piece_differs(s, &s->spans[i], row, &theirs, &mine, &piece))
				smallest = mem_strdup(piece.text);
			else
				subject_clear(&piece);
		}
	}
	char *signature = signature_of(smallest ? smallest : s->text);
	if (tally(&signatures, signature, smallest ? smallest : s->text) == 1 && reports < REPORTS_MAX) {
		reports++;
		printf("difference: %s\n  expression %s%s\n", what, s->text, s->as_text ? "   (its text)" : "");
		print_params(s);
		printf("  Postgres: %s\n  ours:     %s\n", shown(postgres), shown(ours));
		if (smallest && strcmp(smallest, s->text) != 0)
			printf("  smallest %s\n  Postgres: %s\n  ours:     %s\n", smallest, shown(&theirs), shown(&mine)),
				print_params(&piece);
		print_columns(smallest ? piece.w : s->w, row);
		fflush(stdout);
	}
	free(signature);
	free(smallest);
	free(theirs.text);
	free(mine.text);
	subject_clear(&piece);
}

/* One report for an expression and a way to look at it, all rows counted. */
static void compare(struct subject *s, const char *what, const struct outcome *postgres, const struct outcome *ours)
{
	bool told = false, looked = false, fails[TABLE_ROWS];
	for (int row = 0; row < TABLE_ROWS; row++) {
		enum verdict v = judge(&postgres[row], &ours[row], s->loose);
		if (v == DIFFERENT && postgres[row].kind == OUTCOME_ERROR) {
			/* Which parts of AND, CASE and the like are evaluated, and so whether an error is met, isn't defined, nor what
			 * of a strict function's other arguments after a NULL: an error may stay unseen if it is that of a part. */
			if (!looked && !s->lazy)
				failing_parts(s, fails);
			looked = true;
			v = s->lazy || fails[row] ? SKIPPED : DIFFERENT;
		}
		counts.passed += v == SAME;
		counts.skipped += v == SKIPPED;
		counts.values += v == SAME && ours[row].kind == OUTCOME_VALUE;
		counts.nulls += v == SAME && ours[row].kind == OUTCOME_NULL;
		counts.errors_agreed += v == SAME && ours[row].kind == OUTCOME_ERROR;
		counts.errors_missed += v == SKIPPED && postgres[row].kind == OUTCOME_ERROR;
		if (v != DIFFERENT)
			continue;
		counts.failed++;
		if (!told)
			report(s, what, row, &postgres[row], &ours[row]);
		told = true;
	}
}

/* Our SQL must say what the original says, wherever that has an answer. */
static void compare_sql(struct subject *s, const struct outcome *original)
{
	struct buf sql = BUF_INIT(1 << 24);
	struct outcome rows[TABLE_ROWS];
	char *refusal;
	sql_node(&sql, s->w, s->node);
	if (table_ask(conn, sql.data, NULL, 0, rows, &refusal) != 0) {
		counts.failed++;
		char *signature = signature_of(refusal);
		if (tally(&signatures, signature, s->text) == 1)
			printf("difference: Postgres refuses our SQL: %s\n  expression %s\n  SQL %s\n", refusal, s->text, sql.data);
		free(signature);
		free(refusal);
	} else {
		for (int row = 0; row < TABLE_ROWS; row++) {
			if (original[row].kind == OUTCOME_SKIP || rows[row].kind == OUTCOME_SKIP ||
			    original[row].kind == OUTCOME_ERROR || ((s->lazy || s->loose) && rows[row].kind == OUTCOME_ERROR)) {
				counts.skipped++;
				continue;
			}
			if (same(&original[row], &rows[row])) {
				counts.passed++;
				continue;
			}
			counts.failed++;
			char *signature = signature_of(sql.data);
			if (tally(&signatures, signature, s->text) == 1)
				printf(
					"difference: our SQL says something else\n  expression %s\n  SQL %s\n  original: %s\n  SQL's:    %s\n",
					s->text, sql.data, shown(&original[row]), shown(&rows[row])),
					print_columns(s->w, row);
			free(signature);
			break;
		}
		outcomes_clear(rows);
	}
	buf_clear(&sql);
}

static bool all_errors(const struct outcome rows[TABLE_ROWS])
{
	for (int i = 0; i < TABLE_ROWS; i++)
		if (rows[i].kind != OUTCOME_ERROR && rows[i].kind != OUTCOME_SKIP)
			return false;
	return true;
}

/* The reason without the places, names and values of this one. */
static void count_refusal(const struct subject *s)
{
	struct buf key = BUF_INIT(4096);
	const char *p = s->refusal;
	if (strncmp(p, "At location ", 12) == 0)
		p = strchr(p, ':') ? strchr(p, ':') + 2 : p;
	for (; *p; p++)
		if (!(*p >= '0' && *p <= '9') || (p > s->refusal && p[-1] >= 'a' && p[-1] <= 'z'))
			buf_putc(&key, *p);
	if (key.len > 90)
		key.len = 90;
	buf_putc(&key, '\0');
	tally(&refusals, key.data, s->text);
	buf_clear(&key);
}

/*
 * Postgres must give a parameter one type where it first stands; for us it is a string constant, as for
 * Electric, so that is what Postgres is asked about if it sees them otherwise (f($1) is a cast only of a constant).
 */
static void inline_params(struct subject *s)
{
	struct buf out = BUF_INIT(1 << 20);
	for (const char *p = s->text; *p; p++) {
		int i = param_at(s->text, p, s->nparams);
		if (i >= 0) {
			gen_quote(&out, s->params[i]);
			p++;
		} else
			buf_putc(&out, *p);
	}
	for (size_t i = 0; i < s->nparams; i++)
		free(s->params[i]);
	s->nparams = s->nspans = 0;
	free(s->text);
	s->text = buf_detach(&out, NULL);
}

/*
 * As the condition of a query: which rows it shows, as our log would. A failure hides the row, and so is no difference where
 * Postgres leaves the row out.
 */
static void compare_where(struct subject *s)
{
	struct outcome postgres[TABLE_ROWS], ours[TABLE_ROWS];
	char *refusal;
	if (table_ask_where(conn, s->text, s->params, s->nparams, postgres, &refusal) != 0) {
		free(refusal); /* parameters, whose types it sees otherwise */
		return;
	}
	for (int row = 0; row < TABLE_ROWS; row++) {
		const struct outcome *o = &s->ours[row];
		bool hidden = postgres[row].kind == OUTCOME_VALUE && postgres[row].text[0] == 'f';
		bool shown = o->kind == OUTCOME_VALUE && o->text[0] == 't';
		if (o->kind == OUTCOME_ERROR && !hidden)
			ours[row] = outcome_copy(o);
		else
			ours[row] = (struct outcome){OUTCOME_VALUE, mem_strdup(shown ? "t" : "f")};
	}
	compare(s, "Postgres selects other rows", postgres, ours);
	outcomes_clear(postgres);
	outcomes_clear(ours);
}

static int ask(struct subject *s, struct outcome rows[TABLE_ROWS], char **refusal)
{
	char *expression = expression_for_postgres(s);
	int rc = table_ask(conn, expression, s->params, s->nparams, rows, refusal);
	free(expression);
	bool agreed = rc == 0;
	for (int i = 0; agreed && s->w && i < TABLE_ROWS; i++)
		agreed = judge(&rows[i], &s->ours[i], s->loose) != DIFFERENT;
	if (agreed || s->nparams == 0)
		return rc;
	free(*refusal);
	if (rc == 0)
		outcomes_clear(rows);
	inline_params(s);
	return ask(s, rows, refusal);
}

/* ARRAY[domain] is an array of the domain for Postgres, of its base type for us, CASE and COALESCE of domains too:
 * then more operators fit. */
static bool is_about_domains(const char *refusal)
{
	static const char *const names[] = {"small[]", "smaller[]", "code[]", "amount[]", "feeling", "value for domain",
	                                    /* said before any row is read: of a literal read as a domain */
	                                    "numeric field overflow", "value too long for type"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strstr(refusal, names[i]))
			return true;
	return false;
}

/* "POSIX" and "C" are one collation for us. */
static bool is_about_names(const char *refusal)
{
	return strstr(refusal, "collation mismatch") && strstr(refusal, "\"POSIX\"") && strstr(refusal, "\"C\"");
}

static void check(struct subject *s)
{
	struct outcome postgres[TABLE_ROWS];
	char *refusal;
	counts.expressions++;
	if (ask(s, postgres, &refusal) != 0) {
		if (!s->w || s->constant_fails || is_about_domains(refusal) || is_about_names(refusal)) {
			counts.refused_by_both++;
			counts.passed++;
		} else {
			counts.failed++;
			char *signature = signature_of(refusal);
			if (tally(&signatures, signature, s->text) == 1) {
				printf("difference: Postgres refuses what we take: %s\n  expression %s\n", refusal, s->text);
				print_params(s);
			}
			free(signature);
		}
		free(refusal);
		return;
	}
	if (!s->w || s->constant_fails) {
		if (all_errors(postgres))
			counts.refused_by_both++;
		else {
			counts.refused_by_us++;
			count_refusal(s);
		}
		if (verbose)
			printf("refused: %s\n  %s\n", s->refusal, s->text);
	} else {
		counts.accepted++;
		compare(s, "Postgres's answer is another", postgres, s->ours);
		compare_sql(s, postgres);
		if (!s->as_text)
			compare_where(s);
		if (s->in_pool)
			compare(s, "the stored condition gives something else", s->ours, s->stored);
	}
	outcomes_clear(postgres);
}

/* ---- running ---------------------------------------------------------------------------------------- */

static void make_subject(struct subject *s)
{
	memset(s, 0, sizeof *s);
	s->as_text = gen_random(&gen, 100) < 60;
	if (s->as_text)
		gen_any(&gen);
	else
		gen_condition(&gen);
	s->text = mem_strndup(gen.out.data, gen.out.len);
	s->lazy = gen.lazy;
	s->loose = gen.loose;
	s->nparams = gen.nparams;
	for (size_t i = 0; i < gen.nparams; i++)
		s->params[i] = mem_strdup(gen.params[i]);
	s->nspans = gen.nspans;
	memcpy(s->spans, gen.spans, gen.nspans * sizeof *gen.spans);
}

static void batch(void)
{
	static struct subject subjects[BATCH];
	struct where_pool *pool = where_pool_new(table.catalog);
	for (int i = 0; i < BATCH; i++) {
		make_subject(&subjects[i]);
		parse(&subjects[i], true);
	}
	evaluate(subjects, BATCH, pool);
	for (int i = 0; i < BATCH; i++)
		check(&subjects[i]);
	for (int i = 0; i < BATCH; i++)
		subject_clear(&subjects[i]);
	where_pool_free(pool);
}

/* Prints what both say of one expression. */
static void look_at(const char *text)
{
	struct subject s = {.text = mem_strdup(text), .as_text = true};
	struct outcome postgres[TABLE_ROWS];
	char *refusal;
	table_make(conn, &gen, &table);
	parse(&s, true);
	struct where_pool *pool = where_pool_new(table.catalog);
	evaluate(&s, 1, pool);
	if (s.refusal[0])
		printf("ours: refused: %s\n", s.refusal);
	if (s.w) {
		struct buf sql = BUF_INIT(1 << 24);
		sql_node(&sql, s.w, s.node);
		printf("SQL: %s\n", sql.data);
		buf_clear(&sql);
	}
	if (ask(&s, postgres, &refusal) != 0)
		printf("Postgres: refused: %s\n", refusal);
	else
		for (int row = 0; row < TABLE_ROWS; row++) {
			printf("%s Postgres: %-40s ours: %s\n", judge(&postgres[row], &s.ours[row], false) == DIFFERENT ? "!" : " ",
			       shown(&postgres[row]), shown(&s.ours[row]));
			if (row > 0 && verbose)
				print_columns(s.w, row);
		}
	where_pool_free(pool);
	subject_clear(&s);
	table_free(&table);
}

/* True if both say the same of every row of the table, and no row makes it fail. */
static bool safe_for_all_rows(struct subject *s)
{
	struct outcome postgres[TABLE_ROWS];
	char *refusal;
	if (!s->w || s->constant_fails || s->nparams > 0 || strlen(s->text) > EMITTED_MAX)
		return false;
	if (ask(s, postgres, &refusal) != 0) {
		free(refusal);
		return false;
	}
	bool safe = true;
	for (int row = 0; row < TABLE_ROWS; row++)
		safe &= postgres[row].kind <= OUTCOME_VALUE && s->ours[row].kind <= OUTCOME_VALUE &&
		        judge(&postgres[row], &s->ours[row], false) != DIFFERENT;
	outcomes_clear(postgres);
	return safe;
}

/* For the end-to-end tests: leaves table truth.t with its rows, and prints conditions over it, a JSON string a line. */
static void emit(unsigned long long wanted)
{
	table_make(conn, &gen, &table);
	while (wanted > 0) {
		static struct subject s;
		struct where_pool *pool = where_pool_new(table.catalog);
		do {
			make_subject(&s);
			if (s.as_text)
				subject_clear(&s);
		} while (s.as_text);
		parse(&s, true);
		evaluate(&s, 1, pool);
		if (safe_for_all_rows(&s)) {
			struct buf line = BUF_INIT(1 << 16);
			buf_json_string(&line, s.text, strlen(s.text));
			printf("%s\n", line.data);
			buf_clear(&line);
			wanted--;
		}
		subject_clear(&s);
		where_pool_free(pool);
	}
	table_free(&table);
	buf_clear(&gen.out);
	PQclear(PQexec(conn, "DROP PUBLICATION truth_publication"));
	PQfinish(conn);
}

static int by_count(const void *a, const void *b)
{
	const struct tally *x = *(const struct tally *const *)a, *y = *(const struct tally *const *)b;
	return (x->n < y->n) - (x->n > y->n);
}

static void print_tallies(struct map *m, const char *title, size_t max)
{
	if (m->len == 0)
		return;
	struct tally **all = mem_alloc(m->len * sizeof *all), *t;
	size_t i = 0, n = 0;
	while ((t = map_next(m, &i)) != NULL)
		all[n++] = t;
	qsort(all, n, sizeof *all, by_count);
	printf("%s (%zu kinds):\n", title, n);
	for (i = 0; i < n; i++) {
		if (i < max)
			printf("%8llu  %s   e.g. %.160s\n", all[i]->n, all[i]->key, all[i]->example);
		free(all[i]->key);
		free(all[i]->example);
		free(all[i]);
	}
	free(all);
	map_clear(m);
}

static void on_signal(int number)
{
	static const char stuck[] = "\ntruth: stuck in: ", crashed[] = "\ntruth: crashed in: ";
	const char *text = current;
	ssize_t ignored = number == SIGALRM ? write(2, stuck, sizeof stuck - 1) : write(2, crashed, sizeof crashed - 1);
	ignored = write(2, text, strlen(text));
	ignored = write(2, "\n", 1);
	(void)ignored;
	signal(number, SIG_DFL);
	raise(number);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"url", 1, NULL, 'u'},     {"seed", 1, NULL, 's'},    {"expressions", 1, NULL, 'e'},
		{"seconds", 1, NULL, 't'}, {"verbose", 0, NULL, 'v'}, {"expression", 1, NULL, 'x'},
		{"conditions", 1, NULL, 'c'},
		{NULL, 0, NULL, 0}};
	const char *url = getenv("BUSBAR_TEST_DATABASE_URL"), *expression = NULL;
	unsigned long long emitted = 0, expressions = 0, seed = (unsigned long long)time(NULL) ^ ((unsigned long long)getpid() << 32),
					   seconds = 0;
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
		switch (o) {
		case 'u':
			url = optarg;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'e':
			expressions = strtoull(optarg, NULL, 10);
			break;
		case 't':
			seconds = strtoull(optarg, NULL, 10);
			break;
		case 'v':
			verbose = true;
			break;
		case 'x':
			expression = optarg;
			break;
		case 'c':
			emitted = strtoull(optarg, NULL, 10);
			break;
		default:
			fprintf(stderr,
			        "truth [--url URL] [--seed N] [--expressions N] [--seconds N] [--verbose] [--expression TEXT] "
			        "[--conditions N]\n");
			return 2;
		}
	if (!url) {
		fprintf(stderr, "truth: BUSBAR_TEST_DATABASE_URL or --url is needed\n");
		return 2;
	}
	if (expressions == 0 && seconds == 0)
		expressions = 3000;
	if (emitted == 0)
		printf("truth: seed %llu\n", seed);
	fflush(stdout);
	signal(SIGSEGV, on_signal), signal(SIGABRT, on_signal), signal(SIGFPE, on_signal), signal(SIGALRM, on_signal);
	conn = table_connect(url);
	bool counted = PQserverVersion(conn) / 10000 == 15;
	gen = (struct gen){.seed = seed, .out = BUF_INIT(1 << 22)};
	if (expression) {
		look_at(expression);
		return 0;
	}
	if (emitted > 0) {
		emit(emitted);
		return 0;
	}
	time_t end = seconds ? time(NULL) + (time_t)seconds : 0;
	while ((expressions == 0 || counts.expressions < expressions) && (end == 0 || time(NULL) < end)) {
		table_make(conn, &gen, &table);
		for (int i = 0; i < EXPRESSIONS_PER_TABLE / BATCH && (expressions == 0 || counts.expressions < expressions) &&
		                (end == 0 || time(NULL) < end);
		     i++)
			batch();
		table_free(&table);
	}
	PQclear(PQexec(conn, "DROP SCHEMA truth CASCADE; DROP PUBLICATION truth_publication"));
	PQfinish(conn);
	print_tallies(&refusals, "refused by us, taken by Postgres", verbose ? 1000 : 40);
	print_tallies(&signatures, "differences", 100);
	printf(
		"truth: %llu expressions: %llu compared, %llu refused by both, %llu by us alone; rows: %llu skipped, %llu values, %llu nulls, "
		"%llu errors agreed, %llu unseen\n",
		counts.expressions, counts.accepted, counts.refused_by_both, counts.refused_by_us, counts.skipped,
		counts.values, counts.nulls, counts.errors_agreed, counts.errors_missed);
	buf_clear(&gen.out);
	if (!counted) {
		printf("truth: this isn't PostgreSQL 15: %llu differences aren't counted\n", counts.failed);
		counts.failed = 0;
	}
	printf("truth: %llu passed, %llu failed\n", counts.passed, counts.failed);
	return counts.failed ? 1 : 0;
}
