/*
 * results.h - what was measured: samples, failures, and their summary over the rounds.
 *
 * A sample is one case (scenario and variant) on one subject (a server or a floor) in one round. A row of the
 * summary is the median over rounds, a ratio is the median of the ratios round by round, with least and largest.
 */
#ifndef BUSBAR_BENCH_RESULTS_H
#define BUSBAR_BENCH_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"
#include "bench/hist.h"
#include "bench/opt.h"

#define METRICS_MAX 16
#define ROUNDS_MAX 64

struct metric {
	char name[28], unit[8]; /* units: ms, s, /s, MB/s, MB, KB, %, "" */
	double value;
	int better; /* 1: more is better, -1: less, 0: neither */
	bool ratio; /* shown as a ratio, as the first one always is */
};

struct sample {
	char scenario[16], variant[80], subject[40];
	char series[40]; /* of a plot: variants that differ by x alone share it */
	char x_name[24];
	double x;
	bool floor;
	int round;
	int metrics;
	struct metric m[METRICS_MAX]; /* the first is the headline: what plots and ratios show */
	struct hist *ack, *sched; /* owned; NULL unless the case has them */
};

struct failure {
	char scenario[16], variant[80], subject[40], text[800];
	bool skipped;
};

struct results {
	struct sample **sample;
	size_t samples, samples_cap;
	struct failure **failure;
	size_t failures, failures_cap;
	bool failed; /* something was wrong, not merely skipped */
	FILE *json;
	char date[32], cpu[128], kernel[80], postgres[80], nginx[32], command[512];
	int cores;
	long memory_mb;
};

void results_init(struct results *r, int argc, char **argv);
void results_clear(struct results *r);

struct sample *sample_new(struct results *r, const char *scenario, const char *series, const char *x_name, double x,
			  const char *subject, int round);
void sample_variant(struct sample *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void sample_metric(struct sample *s, const char *name, const char *unit, double value, int better);
void sample_ratio(struct sample *s); /* of the metric that was added last, too */
void sample_hists(struct sample *s, const struct hist *ack, const struct hist *sched); /* copies */
void sample_done(struct results *r, struct sample *s); /* writes its line of JSON */

void results_fail(struct results *r, const char *scenario, const char *variant, const char *subject, bool skipped,
		  const char *text);

/* The median over rounds; false if the subject has no such metric in this case. */
bool results_median(const struct results *r, const char *scenario, const char *variant, const char *subject,
		    const char *metric, double *out);
/* Of the rounds that both have. */
bool results_ratio(const struct results *r, const char *scenario, const char *variant, const char *a, const char *b,
		   const char *metric, double *mid, double *least, double *most);
/* The histograms of all rounds together; false if there are none. */
bool results_hist(const struct results *r, const char *scenario, const char *variant, const char *subject, bool ack,
		  struct hist *out);

/* "1,234", "0.312 ms", "12.3 MB": at least three digits, then the unit. */
void format_value(char *out, size_t size, double v, const char *unit);

/* report_table.c, report_json.c, report_html.c */
void report_table(const struct results *r, const char *scenario, size_t from, FILE *f); /* of samples from there on */
void report_json_run(struct results *r, const struct options *o, const char *server, const char *against);
void report_json_sample(struct results *r, const struct sample *s);
void report_json_failure(struct results *r, const struct failure *f);
void report_json_end(struct results *r);
int report_html(const struct results *r, const struct options *o, const char *server, const char *against,
		struct err *e) MUST_USE;

#endif
