/* results.c - see results.h. */
#include "bench/results.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench/floors.h"

/* Values of these options, and the user part of URLs, aren't shown. */
static void command_line(struct results *r, int argc, char **argv)
{
	struct buf b = BUF_INIT(sizeof r->command - 1);
	bool hide = false;

	for (int i = 1; i < argc && !b.failed; i++) {
		const char *at = strrchr(argv[i], '@'), *scheme = strstr(argv[i], "://"), *eq = strchr(argv[i], '=');
		buf_putc(&b, ' ');
		if (hide)
			buf_puts(&b, "***");
		else if ((strncmp(argv[i], "--secret=", 9) == 0 || strncmp(argv[i], "--against-secret=", 17) == 0) && eq)
			buf_printf(&b, "%.*s***", (int)(eq + 1 - argv[i]), argv[i]);
		else if (scheme != NULL && at != NULL && at > scheme)
			buf_printf(&b, "%.*s***%s", (int)(scheme + 3 - argv[i]), argv[i], at);
		else if (strstr(argv[i], "password") != NULL)
			buf_puts(&b, "***");
		else
			buf_puts(&b, argv[i]);
		hide = strcmp(argv[i], "--secret") == 0 || strcmp(argv[i], "--against-secret") == 0;
	}
	snprintf(r->command, sizeof r->command, "busbar-bench%s", b.data ? b.data : "");
	buf_clear(&b);
}

void results_init(struct results *r, int argc, char **argv)
{
	struct utsname u;
	struct tm tm;
	time_t now = time(NULL);
	char text[64];

	memset(r, 0, sizeof *r);
	strftime(r->date, sizeof r->date, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&now, &tm));
	file_field("/proc/cpuinfo", "model name", r->cpu, sizeof r->cpu);
	if (uname(&u) == 0)
		snprintf(r->kernel, sizeof r->kernel, "%s %s", u.sysname, u.release);
	r->cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
	file_field("/proc/meminfo", "MemTotal", text, sizeof text);
	r->memory_mb = strtol(text, NULL, 10) / 1024;
	nginx_version(r->nginx, sizeof r->nginx);
	command_line(r, argc, argv);
}

void results_clear(struct results *r)
{
	for (size_t i = 0; i < r->samples; i++) {
		free(r->sample[i]->ack);
		free(r->sample[i]->sched);
		free(r->sample[i]);
	}
	for (size_t i = 0; i < r->failures; i++)
		free(r->failure[i]);
	free(r->sample);
	free(r->failure);
	if (r->json != NULL)
		fclose(r->json);
	memset(r, 0, sizeof *r);
}

struct sample *sample_new(struct results *r, const char *scenario, const char *series, const char *x_name, double x,
			  const char *subject, int round)
{
	struct sample *s = mem_zalloc(sizeof *s);

	if (r->samples == r->samples_cap) {
		r->samples_cap = r->samples_cap ? r->samples_cap * 2 : 64;
		r->sample = mem_realloc(r->sample, r->samples_cap * sizeof *r->sample);
	}
	r->sample[r->samples++] = s;
	snprintf(s->scenario, sizeof s->scenario, "%s", scenario);
	snprintf(s->series, sizeof s->series, "%s", series);
	snprintf(s->x_name, sizeof s->x_name, "%s", x_name);
	snprintf(s->subject, sizeof s->subject, "%s", subject);
	s->x = x;
	s->round = round;
	return s;
}

void sample_variant(struct sample *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->variant, sizeof s->variant, fmt, ap);
	va_end(ap);
}

void sample_metric(struct sample *s, const char *name, const char *unit, double value, int better)
{
	struct metric *m;

	if (s->metrics == METRICS_MAX)
		return;
	m = &s->m[s->metrics++];
	snprintf(m->name, sizeof m->name, "%s", name);
	snprintf(m->unit, sizeof m->unit, "%s", unit);
	m->value = isfinite(value) ? value : 0;
	m->better = better;
	m->ratio = s->metrics == 1;
}

void sample_ratio(struct sample *s)
{
	if (s->metrics > 0)
		s->m[s->metrics - 1].ratio = true;
}

void sample_hists(struct sample *s, const struct hist *ack, const struct hist *sched)
{
	if (ack != NULL) {
		s->ack = mem_alloc(sizeof *ack);
		*s->ack = *ack;
	}
	if (sched != NULL) {
		s->sched = mem_alloc(sizeof *sched);
		*s->sched = *sched;
	}
}

void sample_done(struct results *r, struct sample *s)
{
	report_json_sample(r, s);
}

void results_fail(struct results *r, const char *scenario, const char *variant, const char *subject, bool skipped,
		  const char *text)
{
	struct failure *f = mem_zalloc(sizeof *f);

	if (r->failures == r->failures_cap) {
		r->failures_cap = r->failures_cap ? r->failures_cap * 2 : 16;
		r->failure = mem_realloc(r->failure, r->failures_cap * sizeof *r->failure);
	}
	r->failure[r->failures++] = f;
	snprintf(f->scenario, sizeof f->scenario, "%s", scenario);
	snprintf(f->variant, sizeof f->variant, "%s", variant);
	snprintf(f->subject, sizeof f->subject, "%s", subject);
	snprintf(f->text, sizeof f->text, "%s", text);
	f->skipped = skipped;
	if (!skipped)
		r->failed = true;
	report_json_failure(r, f);
}

static const struct metric *find(const struct sample *s, const char *scenario, const char *variant, const char *subject,
				 const char *metric)
{
	if (strcmp(s->scenario, scenario) != 0 || strcmp(s->variant, variant) != 0 || strcmp(s->subject, subject) != 0)
		return NULL;
	for (int i = 0; i < s->metrics; i++)
		if (strcmp(s->m[i].name, metric) == 0)
			return &s->m[i];
	return NULL;
}

bool results_median(const struct results *r, const char *scenario, const char *variant, const char *subject,
		    const char *metric, double *out)
{
	double v[ROUNDS_MAX];
	int n = 0;

	for (size_t i = 0; i < r->samples && n < ROUNDS_MAX; i++) {
		const struct metric *m = find(r->sample[i], scenario, variant, subject, metric);
		if (m != NULL)
			v[n++] = m->value;
	}
	*out = median(v, n);
	return n > 0;
}

bool results_ratio(const struct results *r, const char *scenario, const char *variant, const char *a, const char *b,
		   const char *metric, double *mid, double *least, double *most)
{
	double v[ROUNDS_MAX];
	int n = 0;

	for (size_t i = 0; i < r->samples; i++) {
		const struct metric *x = find(r->sample[i], scenario, variant, a, metric);
		for (size_t k = 0; x != NULL && k < r->samples && n < ROUNDS_MAX; k++) {
			const struct metric *y = find(r->sample[k], scenario, variant, b, metric);
			if (y != NULL && r->sample[i]->round == r->sample[k]->round && y->value > 0)
				v[n++] = x->value / y->value;
		}
	}
	if (n == 0)
		return false;
	*mid = median(v, n);
	*least = v[0];
	*most = v[n - 1];
	return true;
}

bool results_hist(const struct results *r, const char *scenario, const char *variant, const char *subject, bool ack,
		  struct hist *out)
{
	bool any = false;

	hist_reset(out);
	for (size_t i = 0; i < r->samples; i++) {
		const struct sample *s = r->sample[i];
		const struct hist *h = ack ? s->ack : s->sched;
		if (h == NULL || strcmp(s->scenario, scenario) != 0 || strcmp(s->variant, variant) != 0 ||
		    strcmp(s->subject, subject) != 0)
			continue;
		hist_merge(out, h);
		any = true;
	}
	return any && out->count > 0;
}

/* Puts a comma between each three digits of a whole number. */
static void grouped(char *out, size_t size, double v)
{
	char digits[40];
	int n = snprintf(digits, sizeof digits, "%.0f", v), o = 0;

	for (int i = 0; i < n && (size_t)o + 2 < size; i++) {
		if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-')
			out[o++] = ',';
		out[o++] = digits[i];
	}
	out[o] = '\0';
}

void format_value(char *out, size_t size, double v, const char *unit)
{
	char text[64];
	double a = fabs(v);
	bool count = unit[0] == '\0' || strcmp(unit, "/s") == 0;

	if (a == 0)
		snprintf(text, sizeof text, "0");
	else if (a >= 100 || (count && a == floor(a)))
		grouped(text, sizeof text, v);
	else if (a >= 10)
		snprintf(text, sizeof text, "%.1f", v);
	else if (a >= 1)
		snprintf(text, sizeof text, "%.2f", v);
	else
		snprintf(text, sizeof text, "%.3f", v);
	snprintf(out, size, "%s%s%s", text, unit[0] && unit[0] != '/' && unit[0] != '%' ? " " : "", unit);
}
