/*
 * report_table.c - the table for people: a block for each case, a line for each subject, and the ratios.
 */
#include <string.h>

#include "bench/results.h"

#define COLUMN_MIN 11
#define LABEL 34
#define LINE_METRICS 8 /* more of them go into a second block */

/* How many columns a text takes: UTF-8's continuation bytes take none. */
static int width(const char *s)
{
	int n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void pad(FILE *f, const char *s, int columns, bool right)
{
	int n = columns - width(s);

	if (right)
		fprintf(f, "%*s%s", n > 0 ? n : 0, "", s);
	else
		fprintf(f, "%s%*s", s, n > 0 ? n : 0, "");
}

static bool first_of_variant(const struct results *r, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(r->sample[k]->scenario, r->sample[i]->scenario) == 0 &&
		    strcmp(r->sample[k]->variant, r->sample[i]->variant) == 0)
			return false;
	return true;
}

static bool first_of_subject(const struct results *r, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(r->sample[k]->scenario, r->sample[i]->scenario) == 0 &&
		    strcmp(r->sample[k]->variant, r->sample[i]->variant) == 0 &&
		    strcmp(r->sample[k]->subject, r->sample[i]->subject) == 0)
			return false;
	return true;
}

struct columns {
	const struct metric *m[METRICS_MAX * 2];
	int width[METRICS_MAX * 2];
	int n;
};

/* Every metric that any subject of the case has, in the order of the richest. */
static void collect(const struct results *r, const struct sample *of, struct columns *c)
{
	c->n = 0;
	for (int floors = 0; floors < 2; floors++)
		for (size_t i = 0; i < r->samples; i++) {
			const struct sample *s = r->sample[i];
			if (s->floor != (floors == 1) || strcmp(s->scenario, of->scenario) != 0 ||
			    strcmp(s->variant, of->variant) != 0)
				continue;
			for (int k = 0; k < s->metrics; k++) {
				int j = 0;
				while (j < c->n && strcmp(c->m[j]->name, s->m[k].name) != 0)
					j++;
				if (j == c->n && c->n < METRICS_MAX * 2)
					c->m[c->n++] = &s->m[k];
			}
		}
	for (int i = 0; i < c->n; i++) {
		int w = width(c->m[i]->name);
		c->width[i] = 2 + (w > COLUMN_MIN ? w : COLUMN_MIN);
	}
}

static void subject_line(const struct results *r, const struct sample *s, const struct columns *c, int from, int to, FILE *f)
{
	char text[64];
	double v;

	fputs("  ", f);
	pad(f, s->subject, LABEL, false);
	for (int i = from; i < to; i++) {
		text[0] = '\0';
		if (results_median(r, s->scenario, s->variant, s->subject, c->m[i]->name, &v))
			format_value(text, sizeof text, v, c->m[i]->unit);
		pad(f, text, c->width[i], true);
	}
	fputc('\n', f);
}

static void ratio_line(const struct results *r, const struct sample *a, const struct sample *b, const char *metric,
		       const char *unit, FILE *f)
{
	double mid, least, most, x, y;
	char label[100], more[40];

	if (!results_ratio(r, a->scenario, a->variant, a->subject, b->subject, metric, &mid, &least, &most))
		return;
	snprintf(label, sizeof label, "%s ÷ %s", a->subject, b->subject);
	fprintf(f, "    ");
	pad(f, label, LABEL + 8, false);
	fprintf(f, "%s × %.3g", metric, mid);
	if (most > least)
		fprintf(f, "  (%.3g to %.3g by round)", least, most);
	/* Of times the difference says as much as the ratio. */
	if (strcmp(unit, "ms") == 0 && results_median(r, a->scenario, a->variant, a->subject, metric, &x) &&
	    results_median(r, b->scenario, b->variant, b->subject, metric, &y)) {
		format_value(more, sizeof more, x - y, unit);
		fprintf(f, "  %s%s", x >= y ? "+" : "", more);
	}
	fputc('\n', f);
}

static void ratios(const struct results *r, size_t first, FILE *f)
{
	const struct sample *of = r->sample[first];

	for (size_t i = first; i < r->samples; i++) {
		const struct sample *a = r->sample[i];
		if (a->floor || strcmp(a->scenario, of->scenario) != 0 || strcmp(a->variant, of->variant) != 0 ||
		    !first_of_subject(r, i) || a->metrics == 0)
			continue;
		for (size_t k = first; k < r->samples; k++) {
			const struct sample *b = r->sample[k];
			if (k == i || strcmp(b->scenario, of->scenario) != 0 || strcmp(b->variant, of->variant) != 0 ||
			    !first_of_subject(r, k) || (!b->floor && k < i))
				continue;
			for (int j = 0; j < a->metrics; j++)
				if (a->m[j].ratio)
					ratio_line(r, a, b, a->m[j].name, a->m[j].unit, f);
		}
	}
}

void report_table(const struct results *r, const char *scenario, size_t from_sample, FILE *f)
{
	struct columns c;
	bool any = false;

	for (size_t i = from_sample; i < r->samples; i++) {
		const struct sample *s = r->sample[i];
		if (strcmp(s->scenario, scenario) != 0 || !first_of_variant(r, i))
			continue;
		if (!any)
			fprintf(f, "\n== %s\n", scenario);
		any = true;
		collect(r, s, &c);
		for (int from = 0; from < c.n; from += LINE_METRICS) {
			int to = from + LINE_METRICS < c.n ? from + LINE_METRICS : c.n;
			fputs("  ", f);
			pad(f, from == 0 ? s->variant : "", LABEL, false);
			for (int k = from; k < to; k++)
				pad(f, c.m[k]->name, c.width[k], true);
			fputc('\n', f);
			for (size_t k = i; k < r->samples; k++)
				if (strcmp(r->sample[k]->scenario, scenario) == 0 &&
				    strcmp(r->sample[k]->variant, s->variant) == 0 && first_of_subject(r, k))
					subject_line(r, r->sample[k], &c, from, to, f);
		}
		ratios(r, i, f);
		fputc('\n', f);
	}
}
