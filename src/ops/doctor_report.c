/* doctor_report.c - what is printed, and what is run; see doctor_report.h. */
#include "ops/doctor_report.h"

#include <string.h>

#include "base/buf.h"
#include "ops/fields.h"

#define JSON_BYTES_MAX (16u << 20) /* 41 findings with DOCTOR_FIXES_MAX statements each */
#define CODE_WIDTH 23
#define INDENT "          " /* where codes stand */
#define ANSWER_BYTES_MAX 100

static const char *const level_names[DOCTOR_LEVELS] = {"ok", "advice", "warning", "error"};

static const struct {
	const char *code, *name;
} services[PG_SERVICES] = {
	{"postgres", "Postgres"}, {"rds", "Amazon RDS or Aurora"}, {"cloud-sql", "Google Cloud SQL"},
	{"azure", "Azure Database for PostgreSQL"}, {"supabase", "Supabase"}, {"neon", "Neon"},
};

enum doctor_level doctor_worst(const struct doctor_finding *findings, int n)
{
	enum doctor_level worst = DOCTOR_OK;
	for (int i = 0; i < n; i++)
		worst = findings[i].level > worst ? findings[i].level : worst;
	return worst;
}

/* ---- text ---- */

static void put_clean(FILE *out, const char *s)
{
	for (const unsigned char *p = (const unsigned char *)s; *p != '\0'; p++) {
		bool c1 = *p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0; /* U+0080 to U+009F */
		fputc(*p < ' ' || *p == 0x7F || c1 ? '?' : *p, out);
		p += c1;
	}
}

/* "by WHO:" above the statements that are WHO's; statements and sentences below. */
static void print_fixes(FILE *out, const struct doctor_finding *f, enum pg_service service)
{
	const char *who = NULL;
	for (int i = 0; i < f->nfixes; i++) {
		const struct doctor_fix *x = &f->fixes[i];
		if (!(x->services & DOCTOR_ON(service)))
			continue;
		if (x->sql && x->who != NULL && (who == NULL || strcmp(who, x->who) != 0)) {
			fputs(INDENT "by ", out);
			put_clean(out, x->who);
			fputs(":\n", out);
		}
		who = x->sql ? x->who : NULL;
		fputs(x->sql ? INDENT "    " : INDENT "- ", out);
		put_clean(out, x->text);
		fputs(x->restart ? "  -- then restart Postgres\n" : "\n", out);
	}
}

static void print_finding(FILE *out, const struct doctor_finding *f, enum pg_service service)
{
	fprintf(out, "%-8s  %-*s ", f->level == DOCTOR_ERROR ? "ERROR" : level_names[f->level], CODE_WIDTH, f->code);
	put_clean(out, f->what);
	fputc('\n', out);
	if (f->level == DOCTOR_OK)
		return;
	fputs(INDENT, out);
	put_clean(out, f->why != NULL ? f->why : "");
	fputc('\n', out);
	print_fixes(out, f, service);
}

void doctor_print(FILE *out, const struct doctor_look *l, const struct doctor_finding *findings, int n)
{
	const struct pg_facts *f = l->facts;
	int counts[DOCTOR_LEVELS] = {0};
	if (f->version != NULL)
		fprintf(out, "%s, PostgreSQL %s, slot %s, publication %s\n\n", services[f->service].name, f->version, l->config->slot_name,
		        l->config->publication_name);
	for (int i = 0; i < n; i++) {
		if (findings[i].what == NULL)
			continue;
		counts[findings[i].level]++;
		print_finding(out, &findings[i], f->service);
	}
	fprintf(out, "\n%d error%s, %d warning%s, %d of advice, %d ok\n", counts[DOCTOR_ERROR], counts[DOCTOR_ERROR] == 1 ? "" : "s",
	        counts[DOCTOR_WARNING], counts[DOCTOR_WARNING] == 1 ? "" : "s", counts[DOCTOR_ADVICE], counts[DOCTOR_OK]);
}

/* ---- JSON ---- */

static void json_fix(struct buf *b, const struct doctor_fix *f)
{
	static const char *const apply[] = {"never", "ask", "yes"};
	field_open(b, NULL, '{');
	field_open(b, "on", '[');
	for (enum pg_service s = PG_SERVICE_NONE; s < PG_SERVICES; s++)
		if (f->services & DOCTOR_ON(s))
			field_text(b, NULL, services[s].code);
	field_close(b, ']');
	field_text(b, f->sql ? "sql" : "do", f->text);
	field_text(b, "as", f->who);
	field_bool(b, "restart", f->restart);
	field_text(b, "fix", apply[f->apply]);
	field_close(b, '}');
}

static void json_finding(struct buf *b, const struct doctor_finding *f)
{
	field_open(b, NULL, '{');
	field_text(b, "code", f->code);
	field_text(b, "level", level_names[f->level]);
	field_text(b, "what", f->what);
	field_text(b, "why", f->why);
	field_open(b, "mend", '[');
	for (int i = 0; i < f->nfixes; i++)
		json_fix(b, &f->fixes[i]);
	field_close(b, ']');
	field_close(b, '}');
}

static void json_applied(struct buf *b, const struct doctor_mending *m)
{
	field_open(b, "applied", '[');
	for (int i = 0; i < m->n; i++) {
		field_open(b, NULL, '{');
		field_text(b, "code", m->list[i].code);
		field_text(b, "sql", m->list[i].sql);
		field_text(b, "error", m->list[i].error);
		field_close(b, '}');
	}
	field_close(b, ']');
}

void doctor_print_json(FILE *out, const struct doctor_look *l, const struct doctor_finding *findings, int n, const struct doctor_mending *m)
{
	struct buf b = BUF_INIT(JSON_BYTES_MAX);
	field_open(&b, NULL, '{');
	field_text(&b, "status", level_names[doctor_worst(findings, n)]);
	field_text(&b, "version", l->facts->version);
	field_text(&b, "service", services[l->facts->service].code);
	field_text(&b, "slot", l->config->slot_name);
	field_text(&b, "publication", l->config->publication_name);
	json_applied(&b, m);
	field_open(&b, "checks", '[');
	for (int i = 0; i < n; i++)
		if (findings[i].what != NULL)
			json_finding(&b, &findings[i]);
	field_close(&b, ']');
	field_close(&b, '}');
	buf_putc(&b, '\n');
	REQUIRE(!b.failed);
	fwrite(b.data, 1, b.len, out);
	buf_clear(&b);
}

/* ---- mending ---- */

static bool agreed(FILE *out, FILE *answers, const struct doctor_fix *f)
{
	if (answers == NULL)
		return f->apply == DOCTOR_RUN;
	fputs("Run this? [y/N] ", out);
	fflush(out);
	char line[ANSWER_BYTES_MAX];
	if (fgets(line, sizeof line, answers) == NULL)
		return false;
	for (const char *p = line; strchr(p, '\n') == NULL;) /* the rest of a long line isn't the next answer */
		if (fgets(line, sizeof line, answers) == NULL)
			return false;
	return line[0] == 'y' || line[0] == 'Y';
}

static void mend_one(FILE *out, FILE *answers, struct doctor_look *l, const char *code, const struct doctor_fix *f,
                     int (*run)(const struct config *c, const char *sql, struct err *e), struct doctor_mending *m)
{
	fprintf(out, "\n%s: ", code);
	put_clean(out, f->text);
	fputc('\n', out);
	if (!agreed(out, answers, f)) {
		fputs(answers == NULL ? "left to you: --yes doesn't decide this\n" : "left as it is\n", out);
		return;
	}
	struct err e = {0};
	bool failed = run(l->config, f->text, &e) != 0;
	m->list[m->n++] = (struct doctor_applied){code, f->text, failed ? doctor_text(l, "%s", e.text) : NULL};
	fputs(failed ? "failed: " : "done", out);
	put_clean(out, failed ? e.text : f->restart ? "; it takes effect when Postgres is restarted" : "");
	fputc('\n', out);
}

void doctor_mend(FILE *out, FILE *answers, struct doctor_look *l, const struct doctor_finding *findings, int n,
                 int (*run)(const struct config *c, const char *sql, struct err *e), struct doctor_mending *m)
{
	for (int i = 0; i < n; i++)
		for (int k = 0; findings[i].level >= DOCTOR_WARNING && k < findings[i].nfixes; k++) {
			const struct doctor_fix *f = &findings[i].fixes[k];
			if (!f->sql || f->apply == DOCTOR_SHOW || !(f->services & DOCTOR_ON(l->facts->service)) || m->n == DOCTOR_APPLIED_MAX)
				continue;
			m->offered++;
			mend_one(out, answers, l, findings[i].code, f, run, m);
		}
}
