/*
 * report_html.c - the report: one HTML file with its style and its plots inside, that opens from disk. Tables hold what the plots
 * show and more; every plot's points say their value when pointed at.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/results.h"
#include "bench/svg.h"

#define PAGE_BYTES_MAX (64u << 20)
#define SUBJECTS_MAX 12
#define DISTRIBUTION_STEP 0.02 /* of a nine, between two points of a percentile curve */

static const struct about {
	const char *scenario, *title, *text;
} about[] = {
	{"lag", "Lag", "From a commit to the clients that wait for it, at a fixed rate. Solid: from the commit's acknowledgement. "
		       "Thin: from the moment the commit was due, so that a stall can't hide."},
	{"throughput", "Throughput", "Changes a second from Postgres to a client, until the last one has arrived, against the "
				     "number and the kind of shapes. Afterwards the shapes are read and each row is checked."},
	{"fanout", "Fan-out", "One row to clients that all wait for the same shape, until the last one has it."},
	{"diverse", "Diverse shapes", "One row to shapes that all match it, with a client each, until the last one has it."},
	{"initial", "Initial sync", "A whole table: cold (the shape is made by the request) and warm (it is there)."},
	{"concurrent", "Concurrent syncs", "Clients that all sync the same table at once."},
	{"create", "New shapes", "Shapes that nobody asked for before, on a small table."},
	{"restart", "Restart", "The server is stopped and started while clients wait and rows are written."},
	{"idle", "Idle", "Memory while nothing happens. RssAnon is what the process has for itself; VmRSS also counts mapped files."},
};

static const char style[] =
	":root{--bg:#fbfbfa;--card:#fff;--ink:#1c2024;--soft:#666d75;--rule:#e4e5e7;--grid:#ececee;"
	"--c0:#2463d6;--c1:#d9720b;--c2:#7a828c;--c3:#a9549a;--c4:#2b8a64;--c5:#b5a42c;--bad:#b3261e;--badbg:#fdeceb}"
	"@media(prefers-color-scheme:dark){:root{--bg:#15171a;--card:#1d2024;--ink:#e7e8ea;--soft:#9aa1a9;--rule:#31353b;"
	"--grid:#2a2e33;--c0:#6c9ff5;--c1:#f09a4a;--c2:#9aa3ad;--c3:#d089c4;--c4:#62c39b;--c5:#d6c75c;--bad:#ff8a80;--badbg:#3a2220}}"
	"*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',"
	"'DejaVu Sans',sans-serif}main{max-width:1340px;margin:0 auto;padding:36px 24px 80px}"
	"h1{font-size:28px;margin:0;letter-spacing:-.01em}h2{font-size:21px;margin:0 0 2px}h4{font-size:14px;margin:0 0 8px;font-weight:600}"
	"h4 small{font-weight:400;color:var(--soft)}p{margin:0 0 14px;color:var(--soft);max-width:80ch}"
	".sub{font-size:17px;color:var(--soft);margin:4px 0 18px}.sub b{color:var(--ink);font-weight:600}"
	"dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:0;font-size:14px}dt{color:var(--soft)}dd{margin:0}"
	"code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere}"
	"section{margin-top:44px;padding-top:22px;border-top:1px solid var(--rule)}"
	".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:18px;margin:14px 0 20px;align-items:start}"
	"figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:16px 18px 14px;max-width:720px}"
	"figure>svg{display:block;width:100%;height:auto}figcaption{display:flex;flex-wrap:wrap;gap:2px 18px;font-size:13px;color:var(--soft);"
	"margin-top:6px}figcaption span{display:inline-flex;align-items:center;gap:7px}.key{width:26px;height:8px}"
	"text{fill:var(--ink);font-family:inherit}.tick{font-size:11px;fill:var(--soft)}.label{font-size:12px;fill:var(--soft)}"
	".group{font-size:12.5px;font-weight:600}.value{font-size:11.5px;font-variant-numeric:tabular-nums}"
	".grid{stroke:var(--grid);stroke-width:1;fill:none}.axis{stroke:var(--soft);stroke-width:1;fill:none}"
	".line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}.thin{stroke-width:1.3;opacity:.75}"
	".dashed{stroke-dasharray:5 4}"
	".line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}"
	".line.c5{stroke:var(--c5)}.dot,.bar{stroke:var(--card);stroke-width:1}.bar{stroke:none}"
	".dot.c0,.bar.c0{fill:var(--c0)}.dot.c1,.bar.c1{fill:var(--c1)}.dot.c2,.bar.c2{fill:var(--c2)}.dot.c3,.bar.c3{fill:var(--c3)}"
	".dot.c4,.bar.c4{fill:var(--c4)}.dot.c5,.bar.c5{fill:var(--c5)}"
	".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13.5px;margin:0 0 4px}"
	"th,td{text-align:right;padding:5px 8px;border-bottom:1px solid var(--rule);white-space:nowrap;font-variant-numeric:tabular-nums}"
	"th{font-weight:500;color:var(--soft);font-size:12.5px;vertical-align:bottom}th:first-child,td:first-child{text-align:left;padding-left:0}"
	"tr.case th:first-child{color:var(--ink);font-weight:600;font-size:13.5px}tr.case th{padding-top:20px}tr.floor td{color:var(--soft)}"
	"tr.ratio td{border:0;padding-top:2px;padding-bottom:2px;color:var(--soft);font-size:12.5px;text-align:left}"
	".bad{background:var(--badbg);border-radius:8px;padding:12px 16px;margin:18px 0 0;font-size:14px}.bad b{color:var(--bad)}"
	".bad ul{margin:6px 0 0;padding-left:20px}.skip{color:var(--soft);font-size:14px;margin-top:12px}"
	"@media(max-width:560px){.plots{grid-template-columns:1fr}}";

struct page {
	const struct results *r;
	struct buf out;
	char subject[SUBJECTS_MAX][40]; /* servers first, then floors, in order of appearance */
	bool floor[SUBJECTS_MAX];
	int subjects;
};

static bool same(const char *a, const char *b) { return strcmp(a, b) == 0; }

static void find_subjects(struct page *p)
{
	for (int floors = 0; floors < 2; floors++)
		for (size_t i = 0; i < p->r->samples; i++) {
			const struct sample *s = p->r->sample[i];
			int k = 0;
			while (k < p->subjects && !same(p->subject[k], s->subject))
				k++;
			if (k < p->subjects || s->floor != (floors == 1) || k == SUBJECTS_MAX)
				continue;
			snprintf(p->subject[k], sizeof p->subject[k], "%s", s->subject);
			p->floor[k] = s->floor;
			p->subjects++;
		}
}

/* Servers have the first two colours, floors the others in turn within their scenario. */
static int colour_of(const struct page *p, const char *scenario, const char *subject)
{
	int servers = 0, floors = 0;

	for (int k = 0; k < p->subjects; k++) {
		bool here = false;
		for (size_t i = 0; i < p->r->samples && !here; i++)
			here = same(p->r->sample[i]->scenario, scenario) && same(p->r->sample[i]->subject, p->subject[k]);
		if (same(p->subject[k], subject))
			return p->floor[k] ? 2 + floors % 4 : servers % 2;
		if (!p->floor[k])
			servers++;
		else if (here)
			floors++;
	}
	return 2;
}

/* The i-th sample is the first with its variant (by_series: its series) in its scenario. */
static bool is_first(const struct results *r, size_t i, bool by_series)
{
	for (size_t k = 0; k < i; k++) {
		const struct sample *a = r->sample[k], *b = r->sample[i];
		if (same(a->scenario, b->scenario) && (by_series ? same(a->series, b->series) : same(a->variant, b->variant)))
			return false;
	}
	return true;
}

/* ---- plots ---- */

static int distribution(struct plot_line *l, const struct hist *h)
{
	double nines = log10((double)h->count);

	l->n = 0;
	for (double x = 0; l->n < PLOT_POINTS_MAX - 1 && x < nines; x += DISTRIBUTION_STEP) {
		l->x[l->n] = x;
		l->y[l->n++] = (double)hist_percentile(h, x == 0 ? 0 : 100 * (1 - pow(10, -x))) / 1e6;
	}
	l->x[l->n] = nines;
	l->y[l->n++] = (double)h->max / 1e6;
	return l->n;
}

static void plot_distribution(struct page *p, const struct sample *of)
{
	struct plot_line *line = mem_zalloc(sizeof *line * PLOT_LINES_MAX);
	struct plot plot = {.kind = PLOT_X_PERCENTILE, .line = line};
	struct hist *h = mem_alloc(sizeof *h);

	snprintf(plot.title, sizeof plot.title, "%s", of->variant);
	snprintf(plot.x_label, sizeof plot.x_label, "percentile");
	snprintf(plot.y_label, sizeof plot.y_label, "latency");
	snprintf(plot.unit, sizeof plot.unit, "ms");
	for (int ack = 1; ack >= 0; ack--)
		for (int k = 0; k < p->subjects && plot.lines < PLOT_LINES_MAX; k++) {
			struct plot_line *l = &line[plot.lines];
			if (!results_hist(p->r, of->scenario, of->variant, p->subject[k], ack == 1, h) || h->count < 10)
				continue;
			snprintf(l->name, sizeof l->name, "%s%s", p->subject[k], ack ? "" : ", from the schedule");
			l->colour = colour_of(p, of->scenario, p->subject[k]);
			l->thin = ack == 0;
			l->dashed = p->floor[k];
			distribution(l, h);
			plot.lines++;
		}
	if (plot.lines > 0)
		svg_lines(&p->out, &plot);
	free(h);
	free(line);
}

/* Points of a subject over x, in a series, by the headline metric. */
static void series_line(struct page *p, const struct sample *of, const char *subject, struct plot_line *l)
{
	for (size_t i = 0; i < p->r->samples; i++) {
		const struct sample *s = p->r->sample[i];
		double v;
		int k = 0, at;
		if (!same(s->scenario, of->scenario) || !same(s->series, of->series) || !same(s->subject, subject) ||
		    s->metrics == 0 || !results_median(p->r, s->scenario, s->variant, subject, s->m[0].name, &v))
			continue;
		while (k < l->n && l->x[k] < s->x)
			k++;
		if ((k < l->n && l->x[k] == s->x) || l->n == PLOT_POINTS_MAX)
			continue;
		for (at = l->n; at > k; at--) {
			l->x[at] = l->x[at - 1];
			l->y[at] = l->y[at - 1];
		}
		l->x[k] = s->x;
		l->y[k] = v;
		l->n++;
	}
}

/* Whether the series has more than one x. */
static bool is_curve(const struct results *r, const struct sample *of)
{
	for (size_t i = 0; i < r->samples; i++)
		if (same(r->sample[i]->scenario, of->scenario) && same(r->sample[i]->series, of->series) &&
		    r->sample[i]->x != of->x)
			return true;
	return false;
}

static void plot_series(struct page *p, const struct sample *of)
{
	struct plot_line *line = mem_zalloc(sizeof *line * PLOT_LINES_MAX);
	struct plot plot = {.kind = PLOT_X_NUMBER, .line = line};

	snprintf(plot.title, sizeof plot.title, "%s: %s against %s", of->series, of->metrics ? of->m[0].name : "", of->x_name);
	snprintf(plot.x_label, sizeof plot.x_label, "%s", of->x_name);
	if (of->metrics > 0) {
		snprintf(plot.y_label, sizeof plot.y_label, "%s", of->m[0].name);
		snprintf(plot.unit, sizeof plot.unit, "%s", of->m[0].unit);
	}
	for (int k = 0; k < p->subjects && plot.lines < PLOT_LINES_MAX; k++) {
		struct plot_line *l = &line[plot.lines];
		series_line(p, of, p->subject[k], l);
		if (l->n == 0)
			continue;
		snprintf(l->name, sizeof l->name, "%s", p->subject[k]);
		l->colour = colour_of(p, of->scenario, p->subject[k]);
		l->dashed = p->floor[k];
		plot.lines++;
	}
	if (plot.lines > 0)
		svg_lines(&p->out, &plot);
	free(line);
}

/* What has one x only, as bars: a group for each variant. */
static void plot_bars(struct page *p, const char *scenario, const char *title)
{
	struct bar *bars = mem_zalloc(sizeof *bars * PLOT_BARS_MAX);
	const char *unit = NULL, *name = NULL;
	char text[120];
	int n = 0;

	for (size_t i = 0; i < p->r->samples; i++) {
		const struct sample *s = p->r->sample[i];
		if (!same(s->scenario, scenario) || !is_first(p->r, i, false) || is_curve(p->r, s) || s->ack != NULL || s->metrics == 0)
			continue;
		if (unit == NULL) {
			unit = s->m[0].unit;
			name = s->m[0].name;
		}
		if (!same(unit, s->m[0].unit))
			continue;
		for (int k = 0; k < p->subjects && n < PLOT_BARS_MAX; k++) {
			double v;
			if (!results_median(p->r, scenario, s->variant, p->subject[k], s->m[0].name, &v))
				continue;
			snprintf(bars[n].group, sizeof bars[n].group, "%s", s->variant);
			snprintf(bars[n].name, sizeof bars[n].name, "%s", p->subject[k]);
			bars[n].colour = colour_of(p, scenario, p->subject[k]);
			bars[n].value = v;
			format_value(bars[n].text, sizeof bars[n].text, v, unit);
			n++;
		}
	}
	if (n > 1) { /* one bar alone says nothing that the table doesn't */
		snprintf(text, sizeof text, "%s: %s%s", title, name, same(unit, "/s") ? " a second" : "");
		svg_bars(&p->out, text, bars, n);
	}
	free(bars);
}

static void plots(struct page *p, const char *scenario, const char *title)
{
	buf_puts(&p->out, "<div class=\"plots\">\n");
	for (size_t i = 0; i < p->r->samples; i++) {
		const struct sample *s = p->r->sample[i];
		if (same(s->scenario, scenario) && is_first(p->r, i, true) && is_curve(p->r, s))
			plot_series(p, s);
	}
	plot_bars(p, scenario, title);
	for (size_t i = 0; i < p->r->samples; i++) {
		const struct sample *s = p->r->sample[i];
		if (same(s->scenario, scenario) && is_first(p->r, i, false) && s->ack != NULL)
			plot_distribution(p, s);
	}
	buf_puts(&p->out, "</div>\n");
}

/* ---- tables ---- */

static void table_ratio(struct page *p, const struct sample *s, int a, int b, const struct metric *m, int columns)
{
	double mid, least, most, x, y;
	char more[40];

	if (!results_ratio(p->r, s->scenario, s->variant, p->subject[a], p->subject[b], m->name, &mid, &least, &most))
		return;
	buf_printf(&p->out, "<tr class=\"ratio\"><td colspan=\"%d\">", columns);
	html_escape(&p->out, p->subject[a]);
	buf_puts(&p->out, " ÷ ");
	html_escape(&p->out, p->subject[b]);
	buf_printf(&p->out, ": %s <b>× %.3g</b>", m->name, mid);
	if (most > least)
		buf_printf(&p->out, " (%.3g to %.3g by round)", least, most);
	if (same(m->unit, "ms") && results_median(p->r, s->scenario, s->variant, p->subject[a], m->name, &x) &&
	    results_median(p->r, s->scenario, s->variant, p->subject[b], m->name, &y)) {
		format_value(more, sizeof more, x - y, m->unit);
		buf_printf(&p->out, ", %s%s", x >= y ? "+" : "", more);
	}
	buf_puts(&p->out, "</td></tr>\n");
}

static void table_ratios(struct page *p, const struct sample *s, int columns)
{
	for (int a = 0; a < p->subjects; a++)
		for (int b = a + 1; !p->floor[a] && b < p->subjects; b++) {
			const struct sample *of = NULL;
			for (size_t i = 0; i < p->r->samples && of == NULL; i++) {
				const struct sample *x = p->r->sample[i];
				if (same(x->scenario, s->scenario) && same(x->variant, s->variant) && same(x->subject, p->subject[a]))
					of = x;
			}
			for (int i = 0; of != NULL && i < of->metrics; i++)
				if (of->m[i].ratio)
					table_ratio(p, s, a, b, &of->m[i], columns);
		}
}

static void table_case(struct page *p, const struct sample *of)
{
	const struct metric *column[METRICS_MAX * 2];
	char text[64];
	int n = 0;
	double v;

	for (size_t i = 0; i < p->r->samples; i++) {
		const struct sample *s = p->r->sample[i];
		for (int k = 0; same(s->scenario, of->scenario) && same(s->variant, of->variant) && k < s->metrics; k++) {
			int j = 0;
			while (j < n && !same(column[j]->name, s->m[k].name))
				j++;
			if (j == n && n < METRICS_MAX * 2)
				column[n++] = &s->m[k];
		}
	}
	buf_puts(&p->out, "<div class=\"scroll\"><table><tr class=\"case\"><th>");
	html_escape(&p->out, of->variant);
	buf_puts(&p->out, "</th>");
	for (int k = 0; k < n; k++) {
		buf_puts(&p->out, "<th>");
		html_escape(&p->out, column[k]->name);
		buf_puts(&p->out, "</th>");
	}
	buf_puts(&p->out, "</tr>\n");
	for (int i = 0; i < p->subjects; i++) {
		bool any = false;
		for (int k = 0; k < n && !any; k++)
			any = results_median(p->r, of->scenario, of->variant, p->subject[i], column[k]->name, &v);
		if (!any)
			continue;
		buf_puts(&p->out, p->floor[i] ? "<tr class=\"floor\"><td>" : "<tr><td>");
		html_escape(&p->out, p->subject[i]);
		buf_puts(&p->out, "</td>");
		for (int k = 0; k < n; k++) {
			text[0] = '\0';
			if (results_median(p->r, of->scenario, of->variant, p->subject[i], column[k]->name, &v))
				format_value(text, sizeof text, v, column[k]->unit);
			buf_printf(&p->out, "<td>%s</td>", text);
		}
		buf_puts(&p->out, "</tr>\n");
	}
	table_ratios(p, of, n + 1);
	buf_puts(&p->out, "</table></div>\n");
}

/* ---- the page ---- */

static void failures(struct page *p, bool skipped)
{
	int n = 0;

	for (size_t i = 0; i < p->r->failures; i++) {
		const struct failure *f = p->r->failure[i];
		if (f->skipped != skipped)
			continue;
		if (n++ == 0)
			buf_puts(&p->out, skipped ? "<div class=\"skip\">Not run:<ul>" :
						    "<div class=\"bad\"><b>Failed.</b> What failed has no figure here.<ul>");
		buf_puts(&p->out, "<li>");
		html_escape(&p->out, f->scenario);
		if (f->variant[0]) {
			buf_puts(&p->out, ", ");
			html_escape(&p->out, f->variant);
		}
		buf_puts(&p->out, ", ");
		html_escape(&p->out, f->subject);
		buf_puts(&p->out, ": ");
		html_escape(&p->out, f->text);
		buf_puts(&p->out, "</li>");
	}
	if (n > 0)
		buf_puts(&p->out, "</ul></div>\n");
}

static void fact(struct page *p, const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	buf_printf(&p->out, "<dt>%s</dt><dd>", name);
	html_escape(&p->out, value);
	buf_puts(&p->out, "</dd>");
}

static void head(struct page *p, const struct options *o, const char *server, const char *against)
{
	const struct results *r = p->r;
	char text[300];

	buf_puts(&p->out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
			  "content=\"width=device-width,initial-scale=1\"><title>busbar-bench: ");
	html_escape(&p->out, server);
	buf_printf(&p->out, "</title><style>%s</style></head><body><main>\n<h1>busbar-bench</h1><div class=\"sub\"><b>", style);
	html_escape(&p->out, server);
	buf_puts(&p->out, "</b>");
	if (against[0]) {
		buf_puts(&p->out, " against <b>");
		html_escape(&p->out, against);
		buf_puts(&p->out, "</b>");
	}
	buf_puts(&p->out, "</div>\n<dl>");
	fact(p, "when", r->date);
	snprintf(text, sizeof text, "%d × %s, %ld GB, %s", r->cores, r->cpu, (r->memory_mb + 512) / 1024, r->kernel);
	fact(p, "machine", text);
	fact(p, "PostgreSQL", r->postgres);
	fact(p, "nginx", r->nginx);
	snprintf(text, sizeof text, "%d; figures are medians over them, ratios are taken round by round", o->rounds);
	fact(p, "rounds", text);
	buf_puts(&p->out, "<dt>command</dt><dd><code>");
	html_escape(&p->out, r->command);
	buf_puts(&p->out, "</code></dd></dl>\n");
	failures(p, false);
	failures(p, true);
}

int report_html(const struct results *r, const struct options *o, const char *server, const char *against, struct err *e)
{
	struct page p = {.r = r, .out = BUF_INIT(PAGE_BYTES_MAX)};
	FILE *f = fopen(o->html, "w");
	int result = 0;

	if (f == NULL)
		return err_errno(e, errno, "%s", o->html);
	find_subjects(&p);
	head(&p, o, server, against);
	for (size_t a = 0; a < ARRAY_LEN(about); a++) {
		bool any = false;
		for (size_t i = 0; i < r->samples; i++) {
			if (!same(r->sample[i]->scenario, about[a].scenario) || !is_first(r, i, false))
				continue;
			if (!any) {
				buf_printf(&p.out, "<section id=\"%s\"><h2>%s</h2><p>%s</p>\n", about[a].scenario, about[a].title,
					   about[a].text);
				plots(&p, about[a].scenario, about[a].title);
			}
			any = true;
			table_case(&p, r->sample[i]);
		}
		if (any)
			buf_puts(&p.out, "</section>\n");
	}
	buf_puts(&p.out, "</main></body></html>\n");
	if (p.out.failed || fwrite(p.out.data, 1, p.out.len, f) != p.out.len)
		result = err_set(e, ERR_IO, "%s couldn't be written", o->html);
	if (fclose(f) != 0 && result == 0)
		result = err_errno(e, errno, "%s", o->html);
	buf_clear(&p.out);
	return result;
}
