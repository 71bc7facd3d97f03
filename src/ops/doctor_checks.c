/* doctor_checks.c - what checks share: texts and findings; see doctor_checks.h. */
#include "ops/doctor_checks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define MB INT64_C(1048576)

/* ---- texts ---- */

static const char *format(struct doctor_look *l, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	REQUIRE(n >= 0);
	char *out = arena_alloc(l->arena, (size_t)n + 1);
	vsnprintf(out, (size_t)n + 1, fmt, again);
	va_end(again);
	return out;
}

const char *doctor_text(struct doctor_look *l, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	const char *out = format(l, fmt, ap);
	va_end(ap);
	return out;
}

static const char *quoted(struct doctor_look *l, const char *s, char mark)
{
	char *out = arena_alloc(l->arena, 2 * strlen(s) + 3), *to = out;
	*to++ = mark;
	for (; *s != '\0'; s++) {
		if (*s == mark)
			*to++ = mark;
		*to++ = *s;
	}
	*to++ = mark;
	*to = '\0';
	return out;
}

const char *doctor_ident(struct doctor_look *l, const char *name) { return quoted(l, name, '"'); }
const char *doctor_literal(struct doctor_look *l, const char *text) { return quoted(l, text, '\''); }

const char *doctor_table(struct doctor_look *l, const char *schema, const char *name)
{
	return doctor_text(l, "%s.%s", doctor_ident(l, schema), doctor_ident(l, name));
}

const char *doctor_bytes(struct doctor_look *l, int64_t bytes)
{
	static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	size_t u = 0;
	for (; value >= 1024 && u + 1 < ARRAY_LEN(units); u++)
		value /= 1024;
	return doctor_text(l, u == 0 || value >= 10 ? "%.0f %s" : "%.1f %s", value, units[u]);
}

const char *doctor_seconds(struct doctor_look *l, int64_t seconds)
{
	if (seconds < 120)
		return doctor_text(l, "%lld s", (long long)seconds);
	if (seconds < 7200)
		return doctor_text(l, "%lld min", (long long)(seconds / 60));
	return doctor_text(l, seconds < 172800 ? "%lld h" : "%lld days", (long long)(seconds / (seconds < 172800 ? 3600 : 86400)));
}

const char *doctor_user(struct doctor_look *l) { return doctor_ident(l, l->config->database.user); }
const char *doctor_reader(struct doctor_look *l) { return doctor_ident(l, l->config->pooled_database.user); }

int64_t doctor_wal_danger(const struct pg_facts *f)
{
	int64_t keep_mb = pg_facts_number(f, "max_slot_wal_keep_size");
	int64_t danger = keep_mb >= 0 && keep_mb * MB / 2 < DOCTOR_WAL_DANGER_BYTES ? keep_mb * MB / 2 : DOCTOR_WAL_DANGER_BYTES;
	return danger > DOCTOR_WAL_USUAL_BYTES ? danger : DOCTOR_WAL_USUAL_BYTES;
}

/* ---- findings ---- */

void doctor_say(struct doctor_look *l, struct doctor_finding *out, enum doctor_level level, const char *why, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	out->what = format(l, fmt, ap);
	va_end(ap);
	out->level = level;
	out->why = why;
}

void doctor_fix(struct doctor_look *l, struct doctor_finding *out, struct doctor_fix how, const char *fmt, ...)
{
	if (out->fixes == NULL)
		out->fixes = arena_alloc(l->arena, sizeof *out->fixes * DOCTOR_FIXES_MAX);
	if (out->nfixes == DOCTOR_FIXES_MAX)
		return;
	va_list ap;
	va_start(ap, fmt);
	how.text = format(l, fmt, ap);
	va_end(ap);
	out->fixes[out->nfixes++] = how;
}

void doctor_fix_setting(struct doctor_look *l, struct doctor_finding *out, const char *name, const char *value, bool restart)
{
	enum doctor_apply apply = l->facts->superuser ? DOCTOR_ASK : DOCTOR_SHOW;
	const char *then = restart ? ", and restart the instance" : "";
	struct doctor_fix sql = {.services = DOCTOR_PLAIN, .apply = apply, .sql = true, .restart = restart, .who = "a superuser"};
	doctor_fix(l, out, sql, "ALTER SYSTEM SET %s = %s;", name, doctor_literal(l, value));
	sql.restart = false;
	doctor_fix(l, out, sql, "SELECT pg_reload_conf();");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_RDS)},
	           "set %s to %s in the DB (cluster) parameter group%s", name, value, then);
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_CLOUD_SQL)},
	           "set the database flag %s to %s, beside the flags that are set (gcloud sql instances patch --database-flags replaces all)%s",
	           name, value, restart ? "; the instance restarts" : "");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_AZURE)}, "set the server parameter %s to %s%s", name, value, then);
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_SUPABASE)},
	           "supabase postgres-config update --experimental --config %s=%s%s", name, value, restart ? " (the database restarts)" : "");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_NEON)}, "%s is set by Neon: ask its support", name);
}
