/*
 * report_json.c - the lines for machines. One object a line, `type` first:
 *   run      where, when, what against what, the command
 *   sample   a case on a subject in a round: its metrics, and percentiles in milliseconds where there are any
 *   failure  a case that failed or was skipped, and why
 *   watch    a second of --watch
 *   end      whether all was well
 */
#include <string.h>

#include "bench/results.h"

static const double percents[] = {0, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100};

static void put_string(struct buf *b, const char *name, const char *value)
{
	if (b->data[b->len - 1] != '{')
		buf_putc(b, ',');
	buf_json_string(b, name, strlen(name));
	buf_putc(b, ':');
	buf_json_string(b, value, strlen(value));
}

static void put_number(struct buf *b, const char *name, double v)
{
	if (b->data[b->len - 1] != '{')
		buf_putc(b, ',');
	buf_json_string(b, name, strlen(name));
	buf_printf(b, ":%.9g", v);
}

static void put_hist(struct buf *b, const char *name, const struct hist *h)
{
	char percent[32];

	if (h == NULL)
		return;
	buf_printf(b, ",\"%s\":{", name);
	put_number(b, "count", (double)h->count);
	put_number(b, "mean_ms", hist_mean(h) / 1e6);
	for (size_t i = 0; i < ARRAY_LEN(percents); i++) {
		snprintf(percent, sizeof percent, "p%g_ms", percents[i]);
		put_number(b, percent, (double)hist_percentile(h, percents[i]) / 1e6);
	}
	buf_putc(b, '}');
}

static void line(struct results *r, struct buf *b)
{
	if (!b->failed) {
		fwrite(b->data, 1, b->len, r->json);
		fputs("}\n", r->json);
		fflush(r->json);
	}
	buf_clear(b);
}

void report_json_run(struct results *r, const struct options *o, const char *server, const char *against)
{
	struct buf b = BUF_INIT(1 << 20);

	if (r->json == NULL)
		return;
	buf_putc(&b, '{');
	put_string(&b, "type", "run");
	put_string(&b, "bench", BUSBAR_VERSION);
	put_string(&b, "date", r->date);
	put_string(&b, "server", server);
	if (against[0])
		put_string(&b, "against", against);
	put_string(&b, "postgres", r->postgres);
	put_string(&b, "nginx", r->nginx);
	put_string(&b, "cpu", r->cpu);
	put_number(&b, "cores", r->cores);
	put_number(&b, "memory_mb", (double)r->memory_mb);
	put_string(&b, "kernel", r->kernel);
	put_string(&b, "command", r->command);
	put_number(&b, "rounds", o->rounds);
	put_number(&b, "payload", o->payload);
	line(r, &b);
}

void report_json_sample(struct results *r, const struct sample *s)
{
	struct buf b = BUF_INIT(1 << 20);

	if (r->json == NULL)
		return;
	buf_putc(&b, '{');
	put_string(&b, "type", "sample");
	put_string(&b, "scenario", s->scenario);
	put_string(&b, "variant", s->variant);
	put_string(&b, "series", s->series);
	put_string(&b, "subject", s->subject);
	buf_puts(&b, s->floor ? ",\"floor\":true" : ",\"floor\":false");
	put_number(&b, "round", s->round);
	put_string(&b, "x_name", s->x_name);
	put_number(&b, "x", s->x);
	buf_puts(&b, ",\"metrics\":{");
	for (int i = 0; i < s->metrics; i++) {
		char name[48];
		snprintf(name, sizeof name, "%s%s%s", s->m[i].name, s->m[i].unit[0] ? " " : "", s->m[i].unit);
		put_number(&b, name, s->m[i].value);
	}
	buf_putc(&b, '}');
	put_hist(&b, "from_ack", s->ack);
	put_hist(&b, "from_schedule", s->sched);
	line(r, &b);
}

void report_json_failure(struct results *r, const struct failure *f)
{
	struct buf b = BUF_INIT(1 << 20);

	if (r->json == NULL)
		return;
	buf_putc(&b, '{');
	put_string(&b, "type", "failure");
	put_string(&b, "scenario", f->scenario);
	put_string(&b, "variant", f->variant);
	put_string(&b, "subject", f->subject);
	buf_puts(&b, f->skipped ? ",\"skipped\":true" : ",\"skipped\":false");
	put_string(&b, "reason", f->text);
	line(r, &b);
}

void report_json_end(struct results *r)
{
	if (r->json == NULL)
		return;
	fprintf(r->json, "{\"type\":\"end\",\"ok\":%s}\n", r->failed ? "false" : "true");
	fflush(r->json);
}
