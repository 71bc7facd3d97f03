/*
 * prometheus.c - the text format 0.0.4, as https://prometheus.io/docs/instrumenting/exposition_formats/ describes it.
 */
#include "ops/prometheus.h"

#include <inttypes.h>

#include "ops/ops.h"

static const char *const types[] = {
	[METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_LEVEL] = "gauge", [METRIC_HISTOGRAM] = "histogram",
};

static void put_name(struct buf *out, const char *dotted)
{
	for (; *dotted != '\0'; dotted++)
		buf_putc(out, *dotted == '.' ? '_' : *dotted);
}

static void put_histogram(struct buf *out, const struct metric_info *m, const uint64_t *cells)
{
	static const uint32_t bounds[METRIC_NBOUNDS] = METRIC_BOUNDS;
	uint64_t sum = 0;
	for (size_t i = 0; i <= METRIC_NBOUNDS; i++) {
		sum += cells[i];
		put_name(out, m->name);
		buf_puts(out, "_bucket{le=\"");
		if (i < METRIC_NBOUNDS)
			ops_put_value(out, m->unit, bounds[i]);
		else
			buf_puts(out, "+Inf");
		buf_printf(out, "\"} %" PRIu64 "\n", sum);
	}
	put_name(out, m->name);
	buf_puts(out, "_sum ");
	ops_put_value(out, m->unit, (int64_t)cells[METRIC_SUM]);
	buf_putc(out, '\n');
	put_name(out, m->name);
	buf_printf(out, "_count %" PRIu64 "\n", sum);
}

static void put_numbers(struct buf *out, const struct metric_info *m, const uint64_t *cells, const bool *known)
{
	for (unsigned i = 0; i < m->nvalues; i++) {
		if (!known[i] || (m->label[0] != '\0' && m->values[i][0] == '\0'))
			continue;
		put_name(out, m->name);
		if (m->label[0] != '\0')
			buf_printf(out, "{%s=\"%s\"}", m->label, m->values[i]);
		buf_putc(out, ' ');
		if (m->type == METRIC_COUNTER)
			buf_put_u64(out, cells[i]);
		else
			ops_put_value(out, m->unit, (int64_t)cells[i]);
		buf_putc(out, '\n');
	}
}

static bool any_known(const struct metric_info *m, const bool *known)
{
	for (unsigned i = 0; i < m->nvalues; i++)
		if (known[i])
			return true;
	return false;
}

static void put_head(struct buf *out, const char *name, const char *help, const char *type)
{
	buf_puts(out, "# HELP ");
	put_name(out, name);
	buf_printf(out, " %s\n# TYPE ", help);
	put_name(out, name);
	buf_printf(out, " %s\n", type);
}

unsigned prometheus_fill(void *ctx, const char *query, struct buf *out)
{
	(void)query;
	const struct ops *o = ctx;
	struct metric_values v;
	ops_collect(o, &v);
	put_head(out, "busbar.build_info", "1; what runs here", "gauge");
	buf_printf(out, "busbar_build_info{version=\"%s\",commit=\"%s\"} 1\n", o->version, o->commit);
	for (unsigned i = 0; i < METRICS; i++) {
		const struct metric_info *m = metric_info((enum metric)i);
		const uint64_t *cells = metric_values_of(&v, (enum metric)i);
		const bool *known = &v.known[metric_first[i]];
		if (!any_known(m, known))
			continue;
		put_head(out, m->name, m->help, types[m->type]);
		if (m->type == METRIC_HISTOGRAM)
			put_histogram(out, m, cells);
		else
			put_numbers(out, m, cells, known);
	}
	return 200;
}
