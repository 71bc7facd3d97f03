/*
 * svg.h - plots as inline SVG: lines over an axis, percentiles, and bars. Colours come from the page's style sheet
 * (classes c0…c5), so that they follow a dark page. No state besides the buffer that is written to.
 */
#ifndef BUSBAR_BENCH_SVG_H
#define BUSBAR_BENCH_SVG_H

#include <stdbool.h>

#include "base/buf.h"

#define PLOT_POINTS_MAX 512
#define PLOT_LINES_MAX 12
#define PLOT_BARS_MAX 64

enum plot_x { PLOT_X_NUMBER, PLOT_X_PERCENTILE /* x is the count of nines: 0, 1 = 90 %, 2 = 99 % … */ };

struct plot_line {
	char name[64];
	int colour;
	bool dashed, thin;
	int n;
	double x[PLOT_POINTS_MAX], y[PLOT_POINTS_MAX];
};

struct plot {
	char title[120], x_label[40], y_label[40], unit[8];
	enum plot_x kind;
	int lines;
	struct plot_line *line; /* the caller's */
};

void svg_lines(struct buf *out, const struct plot *p);

struct bar {
	char group[80], name[40];
	int colour;
	double value;
	char text[40];
};

void svg_bars(struct buf *out, const char *title, const struct bar *bars, int n);

void html_escape(struct buf *out, const char *s);

#endif
