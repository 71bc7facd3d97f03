/* test_bench.c - the bench's parts that can be wrong without anybody noticing: histogram, HTTP, messages, rows, options. */
#include <stdlib.h>
#include <time.h>

#include "bench/hist.h"
#include "bench/httpres.h"
#include "bench/opt.h"
#include "bench/results.h"
#include "bench/rows.h"
#include "bench/scan.h"
#include "bench/svg.h"
#include "bench/targets.h"
#include "bench/util.h"
#include "check.h"

static uint64_t seed;

static uint64_t rnd(void)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return seed;
}

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* Percentiles against the sorted values: never below, at most 1 % above. */
static void test_hist(void)
{
	static struct hist h, other;
	static int64_t v[20000];
	const double percent[] = {0, 1, 50, 90, 99, 99.9, 100};
	bool right = true;

	CHECK_INT(hist_percentile(&h, 50), 0);
	for (int i = 0; i < 20000; i++) {
		v[i] = (int64_t)(rnd() >> (rnd() % 40 + 24));
		hist_add(i % 2 ? &h : &other, v[i]);
	}
	hist_merge(&h, &other);
	qsort(v, 20000, sizeof v[0], compare_ns);
	for (size_t i = 0; i < ARRAY_LEN(percent); i++) {
		int64_t got = hist_percentile(&h, percent[i]);
		int rank = (int)(percent[i] / 100 * 20000);
		int64_t want = v[rank < 1 ? 0 : rank - (rank == percent[i] / 100 * 20000)];
		if (got < want || (double)got > (double)want * 1.008 + 1)
			right = false;
	}
	CHECK(right);
	CHECK_INT(h.count, 20000);
	CHECK_INT(h.min, v[0]);
	CHECK_INT(h.max, v[19999]);
	hist_reset(&h);
	hist_add(&h, -5);
	hist_add(&h, INT64_MAX);
	CHECK_INT(h.min, 0);
	CHECK_INT(hist_percentile(&h, 100), INT64_MAX);
	CHECK_INT(hist_percentile(&h, 50), 0);
}

static bool collect(void *ctx, const char *data, size_t len)
{
	buf_put(ctx, data, len);
	return true;
}

/* The same bytes in pieces of every size, and at random. */
static void feed_all(const char *text, const char *body, int status, int rest)
{
	size_t len = strlen(text);

	for (size_t step = 1; step <= len; step += 1 + step / 3) {
		struct httpres p;
		struct buf out = BUF_INIT(100000);
		size_t at = 0;
		ptrdiff_t n = 0;
		httpres_init(&p);
		while (at < len && p.state != HTTP_DONE && n >= 0) {
			size_t part = len - at < step ? len - at : step;
			n = httpres_feed(&p, text + at, part, collect, &out);
			if (n >= 0)
				at += (size_t)n;
		}
		if (p.state == HTTP_BODY_CLOSE)
			CHECK_INT(httpres_eof(&p), 0);
		CHECK(n >= 0 && p.state == HTTP_DONE && p.status == status && (int)(len - at) == rest);
		CHECK_STR(out.data ? out.data : "", body);
		buf_clear(&out);
		httpres_clear(&p);
	}
}

static void test_http(void)
{
	struct httpres p;
	const char *bad[] = {"SPDY/1 200\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
			     "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
			     "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
			     "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n"};
	const char *headers = "HTTP/1.1 200 OK\r\nElectric-Handle:  1-2 \r\nelectric-offset: 7_0\r\nelectric-up-to-date: \r\n"
			      "electric-cursor: 5\r\nconnection: close\r\nretry-after: 6\r\ncontent-length: 0\r\n\r\n";

	const char *cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc";

	feed_all("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "hello", 200, 0);
	feed_all("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1", "hello", 200, 8);
	feed_all("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n",
		 "abc0123456789", 200, 0);
	feed_all("HTTP/1.1 204 No Content\r\n\r\n", "", 204, 0);
	feed_all("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 Conflict\nContent-Length: 2\n\n[]", "[]", 409, 0);
	feed_all("HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end", 200, 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		httpres_init(&p);
		CHECK_INT(httpres_feed(&p, bad[i], strlen(bad[i]), NULL, NULL), -1);
		CHECK(p.error != NULL);
		httpres_clear(&p);
	}
	httpres_init(&p);
	CHECK_INT(httpres_eof(&p), -1);
	httpres_next(&p);
	CHECK_INT(httpres_feed(&p, headers, strlen(headers), NULL, NULL), strlen(headers));
	CHECK_STR(p.handle, "1-2");
	CHECK_STR(p.offset, "7_0");
	CHECK_STR(p.cursor, "5");
	CHECK(p.up_to_date && p.close && p.state == HTTP_DONE && !p.event_stream);
	CHECK_INT(p.retry_after_s, 6);
	httpres_next(&p);
	CHECK(!p.up_to_date && p.handle[0] == '\0');
	CHECK_INT(httpres_feed(&p, cut, strlen(cut), NULL, NULL), strlen(cut));
	CHECK_INT(httpres_eof(&p), -1);
	httpres_clear(&p);
}

static bool event(void *ctx, const char *data, size_t len)
{
	buf_put(ctx, data, len);
	buf_putc(ctx, '|');
	return true;
}

static void test_sse(void)
{
	const char *text = ": keep-alive\n\ndata: {\"a\":1}\n\nevent: x\ndata:one\r\ndata: two\r\n\r\n: c\n\n\ndata: last\n\n";

	for (size_t step = 1; step < 40; step++) {
		struct sse s;
		struct buf out = BUF_INIT(1000);
		sse_init(&s);
		for (size_t at = 0; at < strlen(text); at += step)
			CHECK(sse_feed(&s, text + at, strlen(text) - at < step ? strlen(text) - at : step, event, &out));
		CHECK_STR(out.data, "{\"a\":1}|one\ntwo|last|");
		CHECK_INT(s.comments, 2);
		buf_clear(&out);
		sse_clear(&s);
	}
}

struct got {
	int n, inserts, others;
	uint64_t lsn;
	bool stop;
};

static bool on_msg(void *ctx, const struct msg *m)
{
	struct got *g = ctx;

	g->n++;
	g->inserts += m->kind == MSG_INSERT;
	g->others += m->kind == MSG_OTHER;
	if (m->has_lsn)
		g->lsn = m->lsn;
	return !g->stop;
}

static bool scan_all(const char *text, size_t step, struct got *g)
{
	struct scan s;
	size_t len = strlen(text), n;
	bool ok = true;

	scan_init(&s);
	for (size_t at = 0; ok && at < len; at += n) {
		n = step ? step : rnd() % 40 + 1;
		if (n > len - at)
			n = len - at;
		ok = scan_feed(&s, text + at, n, on_msg, g);
	}
	ok = ok && scan_done(&s);
	scan_clear(&s);
	return ok;
}

static void test_scan(void)
{
	const char *text =
		" [ {\"key\":\"\\\"a\\\"/\\\"1\\\"\",\"value\":{\"id\":\"1\",\"t\":\"x\\\\\",\"z\":null,\"e\":\"\\u00e9\xc3\xa9 long text that "
		"fills several words\"},\"headers\":{\"operation\":\"insert\",\"relation\":[\"a\",\"b]}\"],\"lsn\":\"26800816\","
		"\"op_position\":4,\"last\":true}} ,{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"99\"}},"
		"{\"odd\":{\"deep\":[1,{\"x\":[]},-1.5e3,true]},\"headers\":{\"event\":\"move-out\"}}]\n";
	const char *bad[] = {"{}", "[1]", "[{}", "[{} {}]", "[,{}]", "[{},]", "[{\"a\":}]", "[{\"a\" 1}]", "[{\"key\":\"a\nb\"}]",
			     "[{\"value\":{\"a\":\"b\"]}]", "[{}]]", "[{\"a\":\"\x01\"}]", "[{a:1}]"};
	struct msg m;
	int64_t n;

	for (size_t step = 0; step < strlen(text); step++) {
		struct got g = {0};
		CHECK(scan_all(text, step, &g) && g.n == 3 && g.inserts == 1 && g.others == 1 && g.lsn == 26800816);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		for (size_t step = 1; step < 4; step++) {
			struct got g = {0};
			CHECK(!scan_all(bad[i], step, &g));
		}
	{
		struct got g = {0}, stop = {.stop = true};
		CHECK(scan_all("[]", 1, &g) && g.n == 0);
		CHECK(!scan_all("[{}]", 1, &stop));
	}
	CHECK(scan_message(text + 3, strlen(text) - 3, &m) > 0);
	CHECK_INT(m.op_position, 4);
	CHECK(m.last && m.columns == 4 && m.key.len == 11);
	CHECK(msg_number(&m, "id", &n) && n == 1);
	CHECK(!msg_number(&m, "t", &n) && !msg_number(&m, "z", &n) && !msg_number(&m, "none", &n));
	CHECK(msg_column(&m, "z")->p == NULL);
	CHECK_INT(scan_message("{\"value\":{\"v\":\"-9223372036854775807\"}}", 37, &m), 0);
	CHECK_INT(scan_message("{\"value\":{\"v\":\"-92233720368547758\"}}", 36, &m), 36);
	CHECK(msg_number(&m, "v", &n) && n == -92233720368547758);
}

/* Random bytes, and good ones with a byte changed, never harm; ASan sees what would. */
static void test_scan_noise(void)
{
	struct buf row = BUF_INIT(10000);

	for (int i = 0; i < 20000; i++) {
		struct got g = {0};
		buf_reset(&row);
		buf_putc(&row, '[');
		row_json(&row, "t", (int64_t)(rnd() % 1000000), (int64_t)(rnd() % 10) - 1, 16);
		buf_putc(&row, ']');
		if (i % 2)
			row.data[rnd() % row.len] = (char)(rnd() % 255 + 1);
		bool ok = scan_all(row.data, 0, &g);
		if (i % 2 == 0)
			CHECK(ok && g.inserts == 1);
	}
	buf_clear(&row);
}

static void test_rows(void)
{
	struct rows_want want = {.payload = 32, .groups = 7, .last_id = 50};
	struct buf b = BUF_INIT(10000);
	struct msg m;
	struct seen s;
	int64_t id, group;
	const char *why;

	for (int64_t i = 1; i < 50; i++) {
		buf_reset(&b);
		row_json(&b, "t", i, i % 7, 32);
		CHECK(scan_message(b.data, b.len, &m) == (ptrdiff_t)b.len && row_check(&m, &want, &id, &group, &why) && id == i &&
		      group == i % 7);
	}
	buf_reset(&b);
	row_json(&b, "t", 50, LAST_GROUP, 32);
	CHECK(scan_message(b.data, b.len, &m) > 0 && row_check(&m, &want, &id, &group, &why) && group == LAST_GROUP);
	/* Any digit or letter of a value that changes is noticed. */
	buf_reset(&b);
	row_json(&b, "t", 12, 5, 32);
	char *value = strstr(b.data, "\"value\""), *end = strstr(b.data, "\"headers\"");
	int wrong = 0, tried = 0;
	for (char *p = strchr(value, '{'); p < end; p++) {
		char was = *p;
		if (was != 'a' && (was < '0' || was > '9'))
			continue;
		*p = was == '3' ? '4' : '3';
		tried++;
		wrong += scan_message(b.data, b.len, &m) > 0 && row_check(&m, &want, &id, &group, &why);
		*p = was;
	}
	CHECK(tried > 40);
	CHECK_INT(wrong, 0);
	buf_clear(&b);
	seen_init(&s, 10, 20);
	CHECK(seen_add(&s, 10) && seen_add(&s, 19) && !seen_add(&s, 10) && !seen_add(&s, 20) && !seen_add(&s, 9));
	CHECK_INT(s.count, 2);
	seen_clear(&s);
}

/* What is learnt from one row knows the others, and nothing else. */
static void test_row_form(void)
{
	struct rows_want want = {.payload = 24, .groups = 7, .last_id = 500, .gate_id = 3};
	struct row_form form = {0};
	struct buf b = BUF_INIT(10000);
	struct msg m;
	int64_t id = 0, group = 0, id2, group2;
	const char *why;
	size_t known = 0;
	unsigned wrong = 0, missed = 0;

	CHECK_INT(row_form_match(&form, &want, "{}", 2, &id, &group), 0);
	row_json(&b, "t", 12, 5, 24);
	CHECK(scan_message(b.data, b.len, &m) == (ptrdiff_t)b.len && row_check(&m, &want, &id, &group, &why));
	CHECK(m.whole.p == b.data && m.whole.len == b.len);
	row_form_learn(&form, &m);
	CHECK(form.parts > 0);
	CHECK_INT(row_form_match(&form, &want, b.data, b.len, &id, &group), (int64_t)b.len);
	CHECK(id == 12 && group == 5);
	/* Any byte that is changed, and any cut: not known, or still what the long way takes for the same row. */
	for (size_t i = 0; i < b.len; i++) {
		char was = b.data[i];
		missed += row_form_match(&form, &want, b.data, i, &id, &group) != 0;
		for (int k = 1; k < 256; k += 7) {
			b.data[i] = (char)(was ^ k);
			if (row_form_match(&form, &want, b.data, b.len, &id, &group) == 0)
				continue;
			wrong += !(scan_message(b.data, b.len, &m) > 0 && row_check(&m, &want, &id2, &group2, &why) && id == id2);
		}
		b.data[i] = was;
	}
	CHECK_INT(wrong, 0);
	CHECK_INT(missed, 0);
	/* Rows of a snapshot differ in nothing but their values; here also the position does, which is put right. */
	for (int64_t i = 1; i <= 500; i += i < 30 ? 1 : 47) {
		int64_t g = i == 500 || i == 3 ? LAST_GROUP : i % 7;
		char *lsn, text[32];
		buf_reset(&b);
		row_json(&b, "t", i, g, 24);
		snprintf(text, sizeof text, "\"lsn\":\"%d\"", (int)(1000 + i));
		lsn = strstr(b.data, text);
		if (lsn == NULL)
			continue;
		memcpy(lsn, "\"lsn\":\"1012\"", 12);
		known += row_form_match(&form, &want, b.data, b.len, &id, &group) == b.len && id == i && group == g;
		CHECK(scan_message(b.data, b.len, &m) > 0 && row_check(&m, &want, &id, &group, &why) && group == g);
	}
	CHECK(known > 30);
	buf_clear(&b);
}

static size_t fast_skip(void *ctx, const char *data, size_t len)
{
	int *n = ctx;

	if (len < 7 || memcmp(data, "{\"a\":1}", 7) != 0)
		return 0;
	(*n)++;
	return 7;
}

static bool count_slow(void *ctx, const struct msg *m)
{
	int *n = ctx;

	n[1]++;
	return m->kind == MSG_OTHER;
}

/* Messages that the fast way knows don't come the slow way, wherever a read cuts them. */
static void test_scan_fast(void)
{
	const char *body = "[{\"a\":1},{\"a\":12},{\"a\":1} , {\"headers\":{}},{\"a\":1}]";
	size_t len = strlen(body);

	for (size_t cut = 0; cut <= len; cut++) {
		struct scan s;
		int n[2] = {0, 0};
		scan_init(&s);
		s.fast = fast_skip;
		s.fast_ctx = n;
		CHECK(scan_feed(&s, body, cut, count_slow, n) && scan_feed(&s, body + cut, len - cut, count_slow, n));
		CHECK(scan_done(&s) && n[0] == 3 && n[1] == 2);
		scan_clear(&s);
	}
}

static enum opt_result parse(struct options *o, struct err *e, const char *line)
{
	char copy[300], *argv[20];
	int argc = 0;

	snprintf(copy, sizeof copy, "busbar-bench --db x %s", line);
	for (char *p = copy; *p && argc < 19;) {
		argv[argc++] = p;
		p += strcspn(p, " ");
		if (*p)
			*p++ = '\0';
	}
	argv[argc] = NULL;
	err_clear(e);
	return opt_parse(o, argc, argv, e);
}

static void test_options(void)
{
	static struct options o;
	struct err e;
	const char *bad[] = {"nonsense", "--rounds 0", "--rounds x", "--shapes 1,,2", "--shapes 1,2,", "--kinds eq,odd", "--rate nan",
			     "--payload", "--request-bytes 8001", "--unknown", "--clients 99999999", "--duration 1e9"};

	CHECK_INT(parse(&o, &e, "lag --shapes 1,10k,1m --quick --kinds eq,ilike"), OPT_RUN);
	CHECK(o.run[SCEN_LAG] && !o.run[SCEN_IDLE] && o.chosen && o.quick && o.rounds == 1);
	CHECK(o.shapes.n == 3 && o.shapes.v[1] == 10000 && o.shapes.v[2] == 1000000);
	CHECK(opt_lists(o.kinds, "table", "ilike") && !opt_lists(o.kinds, "table", "like") && !opt_lists(o.kinds, "table", "table"));
	CHECK(opt_lists("", "table,eq", "eq") && !opt_lists("", "table,eq", "e"));
	CHECK_INT(parse(&o, &e, "idle --shapes 0 --request-bytes 2900"), OPT_RUN);
	CHECK(o.shapes.n == 1 && o.shapes.v[0] == 0 && o.request_bytes == 2900);
	static struct options step;
	CHECK_INT(parse(&o, &e, ""), OPT_RUN);
	for (int i = 0; target_steps[i] != NULL; i++) {
		CHECK_INT(opt_step(&o, target_steps[i], &step, &e), 0);
		CHECK(step.request_bytes == 0 || step.run[SCEN_IDLE]);
	}
	CHECK(opt_step(&o, "lag --clients 7 --rounds 2", &step, &e) == 0 && step.run[SCEN_LAG] && !step.run[SCEN_IDLE] &&
	      step.clients.n == 1 && step.clients.v[0] == 7 && step.rounds == 2);
	CHECK(opt_step(&o, "lag --url x", &step, &e) != 0 && opt_step(&o, "odd", &step, &e) != 0);
	CHECK(o.run[SCEN_RESTART] && !o.chosen && o.rounds == 3);
	CHECK(!o.run[SCEN_MEMBERSHIP] && !o.run[SCEN_SOAK]);
	CHECK_INT(parse(&o, &e, "membership --kinds subquery,inner"), OPT_RUN);
	CHECK(o.run[SCEN_MEMBERSHIP] && !o.run[SCEN_RESTART] && !o.run[SCEN_SOAK]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK_INT(parse(&o, &e, bad[i]), OPT_USAGE);
		CHECK(e.text[0] != '\0');
	}
}

static void test_url(void)
{
	struct url u;
	struct err e;

	CHECK_INT(url_parse(&u, "http://127.0.0.1:3000", &e), 0);
	CHECK_STR(u.shape, "/v1/shape");
	CHECK_STR(u.port, "3000");
	CHECK_INT(url_parse(&u, "http://127.0.0.1/a/b/v1/shape/", &e), 0);
	CHECK_STR(u.shape, "/a/b/v1/shape");
	CHECK_STR(u.base, "/a/b");
	CHECK_STR(u.port, "80");
	CHECK_INT(url_parse(&u, "http://[::1]:81/", &e), 0);
	CHECK_STR(u.host, "::1");
	CHECK_STR(u.port, "81");
	CHECK_INT(url_parse(&u, "https://127.0.0.1", &e), -1);
	CHECK_INT(url_parse(&u, "http://", &e), -1);
}

static void check_format(double v, const char *unit, const char *want)
{
	char text[64];

	format_value(text, sizeof text, v, unit);
	CHECK_STR(text, want);
}

static void test_results(void)
{
	static struct results r;
	struct sample *s;
	double mid, least, most;
	char *argv[] = {(char[]){"busbar-bench"}, (char[]){"--secret"}, (char[]){"hidden"},
			(char[]){"postgresql://u:hidden@h/d"}, (char[]){"--secret=hidden"}, NULL};

	check_format(0, "ms", "0 ms");
	check_format(0.31234, "ms", "0.312 ms");
	check_format(12.34, "MB", "12.3 MB");
	check_format(1234567.8, "/s", "1,234,568/s");
	check_format(1000, "", "1,000");
	check_format(-1234, "KB", "-1,234 KB");
	check_format(7, "", "7");
	results_init(&r, 5, argv);
	CHECK(strstr(r.command, "hidden") == NULL);
	for (int round = 0; round < 3; round++)
		for (int k = 0; k < 2; k++) {
			s = sample_new(&r, "lag", "x", "clients", 1, k ? "b" : "a", round);
			sample_variant(s, "v");
			sample_metric(s, "p50", "ms", (k ? 10 : 20) * (round + 1), -1);
		}
	CHECK(results_median(&r, "lag", "v", "a", "p50", &mid) && mid == 40);
	CHECK(!results_median(&r, "lag", "v", "c", "p50", &mid));
	CHECK(results_ratio(&r, "lag", "v", "a", "b", "p50", &mid, &least, &most) && mid == 2 && least == 2 && most == 2);
	results_fail(&r, "lag", "v", "a", true, "not now");
	CHECK(!r.failed);
	results_fail(&r, "lag", "v", "a", false, "wrong");
	CHECK(r.failed);
	results_clear(&r);
}

/* Plots of odd values stay plots: no infinities, no NaN in the text. */
static void test_svg(void)
{
	static struct plot_line line[2];
	struct plot p = {.title = "a < b", .unit = "ms", .lines = 2, .line = line};
	struct bar bars[2] = {{.group = "g", .name = "n", .value = 0, .text = "0"}, {.group = "g", .name = "m", .value = 1e9}};
	struct buf out = BUF_INIT(1 << 20);

	svg_lines(&out, &p);
	CHECK_INT(out.len, 0);
	for (int i = 0; i < 400; i++) {
		buf_reset(&out);
		p.kind = i % 2 ? PLOT_X_NUMBER : PLOT_X_PERCENTILE;
		for (int l = 0; l < 2; l++) {
			line[l].n = (int)(rnd() % 5);
			for (int k = 0; k < line[l].n; k++) {
				line[l].x[k] = (double)(rnd() % 7) / (double)(rnd() % 3 + 1);
				line[l].y[k] = rnd() % 4 ? (double)(rnd() >> rnd() % 64) : 0;
			}
		}
		svg_lines(&out, &p);
		if (out.data != NULL)
			CHECK(!out.failed && strstr(out.data, "nan") == NULL && strstr(out.data, "inf\"") == NULL);
	}
	svg_bars(&out, "t", bars, 2);
	CHECK(strstr(out.data, "nan") == NULL && strstr(out.data, "a < b") == NULL);
	buf_clear(&out);
}

int main(void)
{
	seed = (uint64_t)time(NULL) * 2654435761u | 1;
	printf("seed %llu\n", (unsigned long long)seed);
	RUN(test_hist);
	RUN(test_http);
	RUN(test_sse);
	RUN(test_scan);
	RUN(test_scan_noise);
	RUN(test_rows);
	RUN(test_row_form);
	RUN(test_scan_fast);
	RUN(test_options);
	RUN(test_url);
	RUN(test_results);
	RUN(test_svg);
	return check_done("test_bench");
}
