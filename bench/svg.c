/* svg.c - see svg.h. */
#include "bench/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/results.h"

#define W 560.0
#define H 320.0
#define LEFT 66.0
#define RIGHT 18.0
#define TOP 14.0
#define BOTTOM 46.0
#define TICKS_MAX 24
#define LOG_ABOVE 8.0 /* a range wider than this factor is drawn on a logarithmic axis */

struct axis {
	bool log;
	double min, max; /* of values; logarithms where log */
	double tick[TICKS_MAX];
	int ticks;
};

void html_escape(struct buf *out, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '&': buf_puts(out, "&amp;"); break;
		case '<': buf_puts(out, "&lt;"); break;
		case '>': buf_puts(out, "&gt;"); break;
		case '"': buf_puts(out, "&quot;"); break;
		default: buf_putc(out, *s); break;
		}
	}
}

static double at(const struct axis *a, double v)
{
	if (a->log) { /* what is below the axis lies on it */
		v = v > 0 ? log10(v) : a->min;
		v = v < a->min ? a->min : v;
	}
	return a->max > a->min ? (v - a->min) / (a->max - a->min) : 0.5;
}

static void tick(struct axis *a, double v)
{
	if (a->ticks < TICKS_MAX)
		a->tick[a->ticks++] = v;
}

static void log_axis(struct axis *a, double min, double max)
{
	static const double steps[] = {1, 2, 5};

	a->log = true;
	a->min = log10(min);
	a->max = log10(max);
	if (a->max - a->min > 2.2) { /* decades, with the ends rounded out to them */
		a->min = floor(a->min + 1e-9);
		a->max = ceil(a->max - 1e-9);
		for (double d = a->min; d <= a->max + 1e-9; d++)
			tick(a, pow(10, d));
		return;
	}
	for (int d = (int)floor(a->min) - 1; d <= (int)ceil(a->max); d++)
		for (int i = 0; i < 3; i++) {
			double v = steps[i] * pow(10, d), next = (i == 2 ? 10 : steps[i + 1]) * pow(10, d);
			double before = i == 0 ? 0.5 * pow(10, d) : steps[i - 1] * pow(10, d);
			if (next > min * 1.0001 && before < max * 0.9999)
				tick(a, v);
		}
	if (a->ticks > 1) {
		a->min = log10(a->tick[0]);
		a->max = log10(a->tick[a->ticks - 1]);
	}
}

static void linear_axis(struct axis *a, double max)
{
	double step, power;

	a->min = 0;
	if (max <= 0)
		max = 1;
	step = max / 5;
	power = pow(10, floor(log10(step)));
	step = step / power <= 1 ? power : step / power <= 2 ? 2 * power : step / power <= 5 ? 5 * power : 10 * power;
	a->max = ceil(max / step - 1e-9) * step;
	for (double v = 0; v <= a->max + step / 2; v += step)
		tick(a, v);
}

static void fit(struct axis *a, double min, double least_above_0, double max, bool may_log)
{
	memset(a, 0, sizeof *a);
	if (may_log && least_above_0 > 0 && max / least_above_0 > LOG_ABOVE && min > 0)
		log_axis(a, least_above_0, max);
	else
		linear_axis(a, max);
}

static void short_number(char *out, size_t size, double v)
{
	double a = fabs(v);

	if (a >= 1e6)
		snprintf(out, size, "%gM", v / 1e6);
	else if (a >= 1e4)
		snprintf(out, size, "%gk", v / 1e3);
	else
		snprintf(out, size, "%g", v);
}

static void percentile_label(char *out, size_t size, int nines)
{
	static const char *const label[] = {"min", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"};

	snprintf(out, size, "%s", nines < 7 ? label[nines] : "");
}

static void frame(struct buf *b, const struct plot *p, const struct axis *x, const struct axis *y)
{
	double w = W - LEFT - RIGHT, h = H - TOP - BOTTOM;
	char text[32];

	for (int i = 0; i < y->ticks; i++) {
		double py = TOP + h * (1 - at(y, y->tick[i]));
		short_number(text, sizeof text, y->tick[i]);
		buf_printf(b, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			   LEFT, py, W - RIGHT, LEFT - 8, py + 3.5, text);
	}
	for (int i = 0; i < x->ticks; i++) {
		double px = LEFT + w * at(x, x->tick[i]);
		if (p->kind == PLOT_X_PERCENTILE)
			percentile_label(text, sizeof text, (int)(x->tick[i] + 0.5));
		else
			short_number(text, sizeof text, x->tick[i]);
		buf_printf(b, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/><text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
			   px, TOP, H - BOTTOM, px, H - BOTTOM + 17, text);
	}
	buf_printf(b, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", LEFT, H - BOTTOM, W - RIGHT);
	buf_printf(b, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", LEFT + w / 2, H - 8);
	html_escape(b, p->x_label);
	buf_printf(b, "</text><text class=\"label\" transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">", TOP + h / 2);
	html_escape(b, p->y_label);
	if (p->unit[0] && p->unit[0] != '/')
		buf_printf(b, ", %s", p->unit);
	else
		buf_puts(b, p->unit[0] ? " a second" : "");
	buf_puts(b, "</text>\n");
}

static void draw(struct buf *b, const struct plot *p, const struct plot_line *l, const struct axis *x, const struct axis *y)
{
	double w = W - LEFT - RIGHT, h = H - TOP - BOTTOM;
	char xs[40], ys[40];

	buf_printf(b, "<path class=\"line c%d%s%s\" d=\"", l->colour, l->dashed ? " dashed" : "", l->thin ? " thin" : "");
	for (int i = 0; i < l->n; i++)
		buf_printf(b, "%c%.1f %.1f", i ? 'L' : 'M', LEFT + w * at(x, l->x[i]), TOP + h * (1 - at(y, l->y[i])));
	buf_puts(b, "\"/>\n");
	if (p->kind == PLOT_X_PERCENTILE)
		return;
	for (int i = 0; i < l->n; i++) {
		format_value(ys, sizeof ys, l->y[i], p->unit);
		format_value(xs, sizeof xs, l->x[i], "");
		buf_printf(b, "<circle class=\"dot c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>", l->colour, LEFT + w * at(x, l->x[i]),
			   TOP + h * (1 - at(y, l->y[i])));
		html_escape(b, l->name);
		buf_printf(b, ": %s at %s</title></circle>\n", ys, xs);
	}
}

static void legend(struct buf *b, const struct plot *p)
{
	buf_puts(b, "<figcaption>");
	for (int i = 0; i < p->lines; i++) {
		const struct plot_line *l = &p->line[i];
		buf_printf(b, "<span><svg class=\"key\" viewBox=\"0 0 26 8\"><path class=\"line c%d%s%s\" d=\"M1 4H25\"/></svg>", l->colour,
			   l->dashed ? " dashed" : "", l->thin ? " thin" : "");
		html_escape(b, l->name);
		buf_puts(b, "</span> ");
	}
	buf_puts(b, "</figcaption>");
}

void svg_lines(struct buf *out, const struct plot *p)
{
	struct axis x, y;
	double xmin = INFINITY, xmax = 0, ymin = INFINITY, ymax = 0, xleast = INFINITY, yleast = INFINITY;

	for (int i = 0; i < p->lines; i++)
		for (int k = 0; k < p->line[i].n; k++) {
			double vx = p->line[i].x[k], vy = p->line[i].y[k];
			xmin = fmin(xmin, vx), xmax = fmax(xmax, vx);
			ymin = fmin(ymin, vy), ymax = fmax(ymax, vy);
			if (vx > 0)
				xleast = fmin(xleast, vx);
			if (vy > 0)
				yleast = fmin(yleast, vy);
		}
	if (!isfinite(xmin))
		return;
	if (p->kind == PLOT_X_PERCENTILE) {
		memset(&x, 0, sizeof x);
		x.max = xmax;
		for (int i = 0; i <= (int)(xmax + 1e-9); i++)
			tick(&x, i);
		if (ymax / yleast > 1e4) /* some arrivals are as good as at once: the axis needn't follow them down */
			yleast = ymax / 1e4;
		fit(&y, yleast, yleast, ymax, true);
	} else {
		fit(&x, xmin, xleast, xmax, true);
		if (!x.log && xmin > 0 && xmin == xmax)
			x.min = 0;
		fit(&y, ymin, yleast, ymax, true);
	}
	buf_puts(out, "<figure><h4>");
	html_escape(out, p->title);
	buf_printf(out, "</h4><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n", W, H);
	frame(out, p, &x, &y);
	buf_printf(out, "<g clip-path=\"inset(0)\">");
	for (int i = p->lines - 1; i >= 0; i--) /* the first on top */
		draw(out, p, &p->line[i], &x, &y);
	buf_puts(out, "</g></svg>");
	legend(out, p);
	buf_puts(out, "</figure>\n");
}

void svg_bars(struct buf *out, const char *title, const struct bar *bars, int n)
{
	const double label = 12, bar_h = 15, gap = 4, group_gap = 12, name_w = 150, value_w = 86;
	double max = 0, y = 4, least = INFINITY, height = 4;
	bool use_log;

	for (int i = 0; i < n; i++) {
		bool first = i == 0 || strcmp(bars[i].group, bars[i - 1].group) != 0;
		max = fmax(max, bars[i].value);
		if (bars[i].value > 0)
			least = fmin(least, bars[i].value);
		height += bar_h + gap + (first ? label + 6 + (i ? group_gap : 0) : 0);
	}
	if (max <= 0)
		return;
	use_log = max / least > 60;
	buf_puts(out, "<figure><h4>");
	html_escape(out, title);
	buf_printf(out, "%s</h4><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n", use_log ? " <small>(logarithmic)</small>" : "", W,
		   height + 4);
	for (int i = 0; i < n; i++) {
		const struct bar *r = &bars[i];
		double w = W - name_w - value_w, len = r->value / max * w;
		if (use_log)
			len = r->value > 0 ? (log10(r->value / least) + 0.3) / (log10(max / least) + 0.3) * w : 0;
		if (i == 0 || strcmp(r->group, r[-1].group) != 0) {
			y += (i ? group_gap : 0) + label;
			buf_printf(out, "<text class=\"group\" x=\"0\" y=\"%.1f\">", y);
			html_escape(out, r->group);
			buf_puts(out, "</text>\n");
			y += 6;
		}
		buf_printf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", name_w - 8, y + 11.5);
		html_escape(out, r->name);
		buf_printf(out, "</text><rect class=\"bar c%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"2\"/>"
			   "<text class=\"value\" x=\"%.1f\" y=\"%.1f\">", r->colour, name_w, y, len > 1 ? len : 1, bar_h,
			   name_w + (len > 1 ? len : 1) + 6, y + 11.5);
		html_escape(out, r->text);
		buf_puts(out, "</text>\n");
		y += bar_h + gap;
	}
	buf_puts(out, "</svg></figure>\n");
}
