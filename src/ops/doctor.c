/* doctor.c - `busbar doctor`: its arguments, a look, perhaps mending and another look. */
#include "ops/doctor.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "ops/doctor_report.h"

struct options {
	bool json, fix, yes, help;
};

void doctor_usage(FILE *out)
{
	fputs("  busbar doctor          look at the database, say what is wrong with it and which SQL mends it, and exit\n"
	      "                         (status 1: there are errors); nothing is altered\n"
	      "  busbar doctor --json   the same as JSON\n"
	      "  busbar doctor --fix    ask for each statement that this role may run, run it, and look again;\n"
	      "                         with --yes, don't ask, and leave what needs a decision\n",
	      out);
}

static int usage(FILE *out)
{
	fputs("busbar doctor [--json] [--fix [--yes]]: --json and --fix together need --yes\n\n", out);
	doctor_usage(out);
	return out == stdout ? 0 : 2;
}

static bool parse(int argc, char **argv, struct options *o)
{
	*o = (struct options){.json = false};
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			o->json = true;
		else if (strcmp(argv[i], "--fix") == 0)
			o->fix = true;
		else if (strcmp(argv[i], "--yes") == 0)
			o->yes = true;
		else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			o->help = true;
		else
			return false;
	}
	return (!o->yes || o->fix) && (!o->json || !o->fix || o->yes);
}

/* ---- settings ---- */

/* Lines as one. */
static void join_lines(char *lines)
{
	for (char *p = lines; p != NULL && (p = strchr(p, '\n')) != NULL;)
		*p = p[1] != '\0' ? ' ' : '\0';
}

/* 0: `c` is filled. What is wrong with the settings is said as a finding; without a secret, which nobody needs here, the database is
 * looked at all the same. */
static int load(struct config *c, struct doctor_look *l, char **warnings)
{
	struct err e = {0}, again = {0};
	size_t len = 0;
	FILE *to = open_memstream(warnings, &len);
	int rc = config_load(c, to, &e);
	if (to != NULL)
		fclose(to);
	join_lines(*warnings);
	l->configuration_warnings = *warnings != NULL ? *warnings : "";
	if (rc == 0)
		return 0;
	l->configuration_error = doctor_text(l, "%s", e.text);
	if (getenv("ELECTRIC_SECRET") != NULL)
		return -1;
	setenv("ELECTRIC_INSECURE", "true", 1);
	return config_load(c, NULL, &again);
}

/* ---- looking ---- */

struct visit {
	struct config config;
	struct pg_facts facts;
	struct arena arena;
	struct doctor_look look;
	struct doctor_finding findings[DOCTOR_CHECKS];
	struct doctor_mending mending;
};

static void look(struct visit *v)
{
	pg_facts_clear(&v->facts);
	pg_facts_gather(&v->config, &v->facts);
	(void)doctor_examine(&v->look, v->findings);
}

/* The settings can't be read: that is all there is to say. */
static void look_at_nothing(struct visit *v)
{
	v->config.slot_name = v->config.publication_name = NULL;
	v->findings[0].code = "configuration";
	doctor_check_configuration(&v->look, &v->findings[0]);
}

static void mend(struct visit *v, const struct options *o)
{
	char *text = NULL; /* with --json, what was run is in there */
	size_t len = 0;
	FILE *out = o->json ? open_memstream(&text, &len) : stdout;
	v->mending.list = arena_alloc(&v->arena, sizeof *v->mending.list * DOCTOR_APPLIED_MAX);
	if (out != NULL)
		doctor_mend(out, o->yes ? NULL : stdin, &v->look, v->findings, DOCTOR_CHECKS, pg_facts_apply, &v->mending);
	if (o->json && out != NULL)
		fclose(out);
	free(text);
	if (v->mending.n > 0)
		look(v);
	if (v->mending.offered == 0 && !o->json)
		puts("\nThere is nothing that this role could mend by itself.");
	if (v->mending.n > 0 && !o->json) {
		puts("\nAnother look:\n");
		doctor_print(stdout, &v->look, v->findings, DOCTOR_CHECKS);
	}
}

int doctor_main(int argc, char **argv)
{
	struct options o;
	if (!parse(argc, argv, &o))
		return usage(stderr);
	if (o.help)
		return usage(stdout);
	log_init(LOG_EMERGENCY); /* what libpq's notices and the like say goes to stdout, too */
	struct visit *v = mem_zalloc(sizeof *v);
	char *warnings = NULL;
	v->look = (struct doctor_look){.config = &v->config, .facts = &v->facts, .arena = &v->arena, .configuration_warnings = ""};
	bool loaded = load(&v->config, &v->look, &warnings) == 0;
	if (loaded)
		look(v);
	else
		look_at_nothing(v);
	if (!o.json)
		doctor_print(stdout, &v->look, v->findings, DOCTOR_CHECKS);
	if (o.fix && loaded)
		mend(v, &o);
	if (o.json)
		doctor_print_json(stdout, &v->look, v->findings, DOCTOR_CHECKS, &v->mending);
	int rc = doctor_worst(v->findings, DOCTOR_CHECKS) == DOCTOR_ERROR;
	pg_facts_clear(&v->facts);
	arena_clear(&v->arena);
	if (loaded)
		config_clear(&v->config);
	free(warnings);
	free(v);
	return rc;
}
