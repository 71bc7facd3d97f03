/*
 * test_http.c - src/http as it is, on a loopback port, against an engine that does as it is told.
 *
 * The functions of shapes.h that src/http calls are here, so the linker takes these; definitions, conditions and wait
 * lists are the real ones. Nothing sleeps: a test waits until the engine has seen what it is to see (a request that
 * registered, a look-up that was let go), says what happens next, and reads the answer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/lock_order.h"
#include "base/mem.h"
#include "check.h"
#include "http/loop.h"
#include "shapes/core/def.h"
#include "shapes/core/wait.h"
#include "where/where.h"

#define GUARD_S 20 /* whoever waits longer has been forgotten: the test has failed */
#define FOREVER_MS 600000
#define HANDLE "100-200"
#define ITEMS "/v1/shape?table=items"
#define UP_TO_DATE "{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"%d\"}}"

/* ---- the engine ------------------------------------------------------------------------------------- */

enum look { LOOK_FOUND, LOOK_NONE, LOOK_PENDING, LOOK_FAILED };

#define INNERS 3

/* Of a table by its name; several requests share it. */
struct table_lookup {
	int refs;
	unsigned asked;
	const char *schema, *name;
	enum look look;
	struct pg_table *table;
};

struct shape {
	struct shape_def def; /* of whoever asked first */
	bool made, deleting;
	enum shape_state state;
	lsn_t tail;           /* lines 1 to tail, each a transaction */
	size_t pad;           /* bytes that lines have beside */
	lsn_t chunk;          /* lines of one answer; 0: all. The bytes of one that isn't the last are known before */
	lsn_t hurdle_at;      /* the reader comes to this behind that line; SHAPE_READ_MORE: to nothing */
	enum shape_read hurdle;
};

struct shape_reader {
	struct shape *shape;
	lsn_t at, end;
	char line_end;
};

struct subset {
	enum subset_state state;
	int rows;
};

struct shapes {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct wait_list waiting;
	unsigned registered;  /* so often somebody began to wait */
	bool foreign_soon;    /* the lock goes to somebody else as the next one looks a table up */
	enum shapes_status status;
	enum shapes_currency currency;
	enum look look;
	struct err err;       /* of what fails */
	enum reason why;      /* the shape ended; 0: TABLE_TRUNCATED */
	struct pg_table *table;
	struct table_lookup lookup;        /* of the shape's own */
	struct table_lookup inner[INNERS]; /* of others */
	struct shape shape;
	struct subset subset;
	bool subsets_full, full, wal_refuses, asleep;
	const char *store_fails; /* NULL: it works */
	unsigned subsets, subsets_freed;
	int refs;             /* of the shape */
	bool strange;         /* something else was asked for than any test asks for */
	void (*on_foreign)(void *ctx);
	void *on_foreign_ctx;
};

static struct shapes engine;

static void wait_for(struct waiter *w)
{
	wait_list_add(&engine.waiting, w);
	engine.registered++;
	pthread_cond_broadcast(&engine.changed);
}

static void locked(void) { pthread_mutex_lock(&engine.lock); }

static void unlock(void)
{
	pthread_cond_broadcast(&engine.changed);
	pthread_mutex_unlock(&engine.lock);
}

bool shapes_wake(struct shapes *s, struct waiter *w)
{
	locked();
	bool asleep = s->asleep;
	if (asleep)
		wait_for(w);
	unlock();
	return asleep;
}

bool shapes_asleep(struct shapes *s) { (void)s; return false; }

enum shapes_status shapes_status(struct shapes *s)
{
	locked();
	enum shapes_status status = s->status;
	unlock();
	return status;
}

enum shapes_status shapes_status_wait(struct shapes *s, struct waiter *w)
{
	locked();
	enum shapes_status status = s->status;
	if (status != SHAPES_ACTIVE)
		wait_for(w);
	unlock();
	return status;
}

void shapes_status_text(struct shapes *s, char *text, size_t max)
{
	(void)s;
	snprintf(text, max, "not yet");
}

enum shapes_currency shapes_currency(struct shapes *s)
{
	locked();
	enum shapes_currency currency = s->currency;
	unlock();
	return currency;
}

enum shapes_currency shapes_currency_wait(struct shapes *s, struct waiter *w)
{
	locked();
	enum shapes_currency currency = s->currency;
	if (currency == SHAPES_UNPROVEN)
		wait_for(w);
	unlock();
	return currency;
}

void shapes_on_foreign(struct shapes *s, void (*notify)(void *), void *ctx)
{
	locked();
	s->on_foreign = notify;
	s->on_foreign_ctx = ctx;
	unlock();
}

void shapes_ready(struct shapes *s, struct shapes_ready *out)
{
	*out = (struct shapes_ready){.ready = true, .status = "ready"};
	if (shapes_store_failing(s, NULL, out->text, sizeof out->text))
		*out = (struct shapes_ready){.status = "store_failing", .why = REASON_STORE_FAILING, .reason = s->store_fails};
}

bool shapes_store_failing(struct shapes *s, int64_t *since_ms, char *text, size_t max)
{
	(void)since_ms;
	locked();
	const char *why = s->store_fails;
	unlock();
	if (why != NULL && text != NULL)
		snprintf(text, max, "%s", why);
	return why != NULL;
}

bool shapes_wal_refuses(struct shapes *s, char *text, size_t max)
{
	locked();
	bool refuses = s->wal_refuses;
	unlock();
	snprintf(text, max, "New shapes are refused for now: a test says so");
	return refuses;
}

struct table_lookup *shapes_table_lookup(struct shapes *s, const char *schema, const char *name)
{
	struct table_lookup *l = strcmp(schema, "public") == 0 && strcmp(name, "items") == 0 ? &s->lookup : NULL;
	locked();
	for (size_t i = 0; i < INNERS; i++)
		if (s->inner[i].name != NULL && strcmp(schema, s->inner[i].schema) == 0 && strcmp(name, s->inner[i].name) == 0)
			l = &s->inner[i];
	s->strange = s->strange || l == NULL;
	l = l == NULL ? &s->lookup : l;
	l->refs++;
	l->asked++;
	unlock();
	return l;
}

void table_lookup_unref(struct table_lookup *l)
{
	locked();
	l->refs--;
	unlock();
}

int table_lookup_result(struct table_lookup *l, struct waiter *w, struct pg_table **out, struct err *e)
{
	locked();
	enum look look = l == &engine.lookup ? engine.look : l->look;
	if (look == LOOK_PENDING)
		wait_for(w);
	if (engine.foreign_soon)
		engine.currency = SHAPES_FOREIGN;
	*e = engine.err;
	*out = l == &engine.lookup ? engine.table : l->table;
	unlock();
	return look == LOOK_FOUND ? 0 : look == LOOK_NONE ? 1 : look == LOOK_PENDING ? 2 : -1;
}

int shapes_server_version(struct shapes *s) { (void)s; return 150000; }
bool shapes_publishes_generated(struct shapes *s) { (void)s; return false; }

struct shape *shape_ref(struct shape *s)
{
	locked();
	engine.refs++;
	unlock();
	return s;
}

void shape_unref(struct shape *s)
{
	locked();
	engine.refs -= s != NULL;
	unlock();
}

static struct shape *if_there(struct shapes *s, bool same)
{
	locked();
	bool there = same && s->shape.made && !s->shape.deleting && s->shape.state != SHAPE_GONE;
	engine.refs += there;
	unlock();
	return there ? &s->shape : NULL;
}

struct shape *shapes_by_handle(struct shapes *s, const char *handle, size_t len)
{
	return if_there(s, len == strlen(HANDLE) && memcmp(handle, HANDLE, len) == 0);
}

struct shape *shapes_leaving(struct shapes *s, const char *handle, size_t len) { (void)s, (void)handle, (void)len; return NULL; }
struct shape *shapes_find(struct shapes *s, const struct shape_def *def) { (void)def; return if_there(s, true); }
int shapes_held_back(struct shapes *s, const struct shape_def *def, enum reason *reason, const char **why)
{
	(void)s, (void)def;
	*reason = REASON_CONDITION_COSTLY;
	*why = "";
	return 0;
}

enum reason shapes_status_why(struct shapes *s) { (void)s; return REASON_SLOT_WAITS; }
enum reason shapes_why_gone(const char *handle, size_t len) { (void)handle, (void)len; return REASON_SET_CHANGED; }
enum reason shape_why(const struct shape *s) { (void)s; return engine.why != REASON_NONE ? engine.why : REASON_TABLE_TRUNCATED; }

bool shapes_full(struct shapes *s, char *text, size_t max, int *retry_s)
{
	locked();
	bool full = s->full;
	if (full)
		snprintf(text, max, "The store takes no new shapes: it has reached BUSBAR_STORE_LIMIT");
	*retry_s = 7;
	unlock();
	return full;
}

struct shape *shapes_get(struct shapes *s, const struct shape_def *def, struct err *e)
{
	locked();
	bool refused = s->err.kind == ERR_LIMIT && s->shape.state != SHAPE_FAILED;
	*e = s->err;
	if (!refused && !s->shape.made) {
		shape_def_copy(&s->shape.def, def);
		s->shape.made = true;
	}
	s->refs += !refused;
	unlock();
	return refused ? NULL : &s->shape;
}

const char *shape_handle(const struct shape *s) { (void)s; return HANDLE; }
const struct shape_def *shape_definition(const struct shape *s) { return &s->def; }
const char *shape_schema_header(const struct shape *s) { (void)s; return "{\"id\":{}}"; }
bool shape_schema_renewed(const struct shape *s) { (void)s; return false; }
void shape_touch(struct shape *s) { (void)s; }

enum shape_state shape_started(struct shape *s, struct waiter *w, struct err *e)
{
	locked();
	enum shape_state state = s->state;
	if (state == SHAPE_CREATING)
		wait_for(w);
	*e = engine.err;
	unlock();
	return state;
}

void shapes_delete(struct shapes *s, struct shape *shape)
{
	(void)s;
	locked();
	shape->deleting = true;
	unlock();
}

bool shape_wait_gone(struct shape *s, struct waiter *w)
{
	locked();
	bool wait = s->state != SHAPE_GONE;
	if (wait)
		wait_for(w);
	unlock();
	return wait;
}

void shape_slice(struct shape *s, bool from_start, struct log_offset from, struct waiter *w, struct shape_slice *out)
{
	(void)w;
	locked();
	lsn_t at = from_start ? 0 : from.tx, to = s->chunk > 0 && at + s->chunk < s->tail ? at + s->chunk : s->tail;
	*out = (struct shape_slice){.kind = s->state == SHAPE_GONE ? SLICE_GONE : at > s->tail ? SLICE_AHEAD : SLICE_LOG,
	                            .from = {at, 0}, .to = {to, 0}, .empty = at == s->tail, .up_to_date = to == s->tail,
	                            .seen = s->tail};
	unlock();
}

void shape_slice_now(struct shape *s, struct shape_slice *out)
{
	locked();
	*out = (struct shape_slice){.kind = s->state == SHAPE_GONE ? SLICE_GONE : SLICE_LOG, .from = {s->tail, 0},
	                            .to = {s->tail, 0}, .empty = true, .up_to_date = true, .seen = s->tail};
	unlock();
}

bool shape_wait_change(struct shape *s, struct log_offset seen, struct waiter *w)
{
	locked();
	bool wait = s->state != SHAPE_GONE && s->tail <= seen.tx;
	if (wait)
		wait_for(w);
	unlock();
	return wait;
}

bool shapes_wait_lsn(struct shapes *s, lsn_t lsn, struct waiter *w)
{
	locked();
	bool wait = s->shape.tail < lsn;
	if (wait)
		wait_for(w);
	unlock();
	return wait;
}

lsn_t shapes_wal_end(struct shapes *s, int64_t since_mono_ms) { (void)s, (void)since_mono_ms; return 0; }

struct shape_reader *shape_reader_new(struct shape *s, const struct shape_slice *slice)
{
	struct shape_reader *r = mem_zalloc(sizeof *r);
	*r = (struct shape_reader){s, slice->from.tx, slice->to.tx, '\n'};
	return r;
}

void shape_reader_free(struct shape_reader *r) { free(r); }
struct shape_place shape_reader_place(const struct shape_reader *r) { return (struct shape_place){.at = {r->at, 0}}; }
void shape_reader_return(struct shape_reader *r, struct shape_place place) { r->at = place.at.tx; }

static void put_line(struct buf *out, lsn_t n, size_t pad, char end)
{
	buf_printf(out, "{\"n\":%llu", (unsigned long long)n);
	if (pad > 0)
		buf_puts(out, ",\"pad\":\"");
	for (size_t i = 0; i < pad; i++)
		buf_putc(out, 'x');
	buf_puts(out, pad > 0 ? "\"}" : "}");
	buf_putc(out, end);
}

int64_t shape_reader_size(struct shape_reader *r)
{
	struct buf all = BUF_INIT(SIZE_MAX / 2);
	locked();
	for (lsn_t n = r->at; n < r->end; n++)
		put_line(&all, n + 1, r->shape->pad, '\n');
	unlock();
	int64_t size = (int64_t)all.len;
	buf_clear(&all);
	return size;
}

void shape_reader_end_lines(struct shape_reader *r, char end) { r->line_end = end; }

enum shape_read shape_reader_next(struct shape_reader *r, struct buf *out, size_t max, struct waiter *w, struct err *e)
{
	struct shape *s = r->shape;
	enum shape_read state = SHAPE_READ_MORE;
	locked();
	bool ended = r->at == r->end;
	while (r->at < r->end && out->len < max && state == SHAPE_READ_MORE) {
		if (r->at == s->hurdle_at && s->hurdle != SHAPE_READ_MORE) {
			if (out->len > 0) /* what was read goes out first */
				break;
			state = s->hurdle;
			if (state == SHAPE_READ_WAIT)
				wait_for(w);
		} else {
			put_line(out, ++r->at, s->pad, r->line_end);
			if (out->failed) { /* there is no room for it: again, with more */
				r->at--;
				break;
			}
		}
	}
	if (r->at == r->end && state == SHAPE_READ_MORE && (r->line_end == '\n' || ended)) /* as the real one: of a log with the last lines */
		state = SHAPE_READ_END;
	*e = engine.err;
	unlock();
	return state;
}

struct subset *shapes_subset_start(struct shapes *s, const struct subset_spec *spec)
{
	locked();
	s->strange = s->strange || spec->limit != -1 || spec->order_by != NULL || spec->where == NULL;
	bool full = s->subsets_full;
	s->subsets += !full;
	unlock();
	return full ? NULL : &s->subset;
}

int64_t shapes_subset_wait_ms(struct shapes *s) { (void)s; return 7000; }

void subset_free(struct subset *q)
{
	locked();
	engine.subsets_freed += q != NULL;
	unlock();
}

enum subset_state subset_look(struct subset *q, struct waiter *w, struct err *e)
{
	locked();
	enum subset_state state = q->state;
	if (state == SUBSET_QUEUED || state == SUBSET_RUNNING)
		wait_for(w);
	*e = engine.err;
	unlock();
	return state;
}

void subset_metadata(const struct subset *q, struct buf *out) { (void)q; buf_puts(out, "{\"snapshot_mark\":1}"); }

/* A row at a time; none are left: whatever `state` says. */
enum subset_state subset_next(struct subset *q, struct buf *out, size_t max, struct waiter *w, struct err *e)
{
	(void)max;
	locked();
	enum subset_state state = q->rows > 0 ? SUBSET_ROWS : q->state;
	if (q->rows > 0)
		put_line(out, (lsn_t)q->rows--, 0, '\n');
	else if (state == SUBSET_RUNNING)
		wait_for(w);
	*e = engine.err;
	unlock();
	return state;
}

/* ---- what the engine is told ------------------------------------------------------------------------ */

/* Until it has seen this; false after so long that it never will. `cond` is looked at under the lock. */
#define AWAIT(cond) \
	do { \
		struct timespec until; \
		int rc = 0; \
		clock_gettime(CLOCK_REALTIME, &until); \
		until.tv_sec += GUARD_S; \
		pthread_mutex_lock(&engine.lock); \
		while (!(cond) && rc == 0) \
			rc = pthread_cond_timedwait(&engine.changed, &engine.lock, &until); \
		bool seen = (cond); \
		pthread_mutex_unlock(&engine.lock); \
		CHECK(seen && #cond); \
	} while (0)

static unsigned registered(void)
{
	locked();
	unsigned n = engine.registered;
	unlock();
	return n;
}

/* Changes it, and wakes all who wait. */
#define HAPPENS(...) \
	do { \
		locked(); \
		__VA_ARGS__; \
		wait_list_wake_all(&engine.waiting); \
		unlock(); \
	} while (0)

#define TABLE(oid, schema, name, key, column) \
	"{\"v\":2,\"oid\":" #oid ",\"schema\":\"" schema "\",\"name\":\"" name "\",\"relkind\":\"r\",\"columns\":[" \
	"[\"" key "\",1,23,-1,\"int4\",0,true,false,false,0,-1],[\"" column "\",2,25,-1,\"text\",0,false,false,false,-1,0]]," \
	"\"leaves\":[],\"types\":[],\"collations\":[[100,\"pg_catalog\",\"default\",\"c\",true,\"C.UTF-8\",\"C.UTF-8\",null]]}"

static char role[] = "somebody", publication[] = "pub", secret[] = "sesame", previous[] = "mustard";
static struct config_secrets secrets = {.now = secret, .previous = previous};
static struct config config;
static struct http *http;

static struct pg_table *table_of(const char *json)
{
	struct pg_table *t;
	struct err e;
	if (pg_table_from_json(json, strlen(json), &t, &e) != 0) {
		printf("%s\n", e.text);
		exit(2);
	}
	return t;
}

/* An engine that has all at once, with a shape of two lines once somebody asks; and a server with these settings. */
static void begin(void)
{
	memset(&engine, 0, sizeof engine);
	pthread_mutex_init(&engine.lock, NULL);
	lock_rank(&engine.lock, LOCK_LEAF);
	pthread_cond_init(&engine.changed, NULL);
	wait_list_init(&engine.waiting, &engine.lock);
	engine.status = SHAPES_ACTIVE;
	engine.shape.state = SHAPE_LIVE;
	engine.shape.tail = 2;
	engine.shape.hurdle = SHAPE_READ_MORE;
	engine.table = table_of(TABLE(20007, "public", "items", "id", "name"));
	config = (struct config){.tcp_send_timeout_ms = FOREVER_MS, .tcp_read_timeout_ms = FOREVER_MS, .body_memory = 128 << 20,
	                         .live = {.long_poll_timeout_ms = FOREVER_MS, .max_concurrent_initial = 100,
	                                  .max_concurrent_existing = 100, .cache_max_age_s = 60, .cache_stale_age_s = 300},
	                         .enable_integration_testing = true,
	                         .log_level = LOG_ERROR, .pooled_database = {.user = role}, .publication_name = publication};
}

static void serve(void)
{
	struct err e;
	if (http_start(&http, &config, &engine, &e) != 0) {
		printf("%s\n", e.text);
		exit(2);
	}
}

static void stop(void)
{
	http_stop(http);
	http = NULL;
}

/* Whatever was held has been let go. */
static void end(void)
{
	if (http != NULL)
		stop();
	CHECK(engine.waiting.head == NULL);
	CHECK_INT(engine.refs, 0);
	CHECK_INT(engine.lookup.refs, 0);
	for (size_t i = 0; i < INNERS; i++) {
		CHECK_INT(engine.inner[i].refs, 0);
		pg_table_unref(engine.inner[i].table);
	}
	CHECK_INT(engine.subsets, engine.subsets_freed);
	CHECK(engine.on_foreign == NULL);
	CHECK(!engine.strange);
	shape_def_clear(&engine.shape.def);
	pg_table_unref(engine.table);
	pthread_cond_destroy(&engine.changed);
	pthread_mutex_destroy(&engine.lock);
}

/* ---- clients ---------------------------------------------------------------------------------------- */

struct client {
	int fd;
	char in[1 << 20];
	size_t n;
	bool ended;
};

struct answer {
	unsigned status; /* 0: none came */
	char head[8192];
	char body[1 << 20];
	size_t len;
	bool whole; /* its end came */
};

static void client_open(struct client *c)
{
	struct sockaddr_in to;
	socklen_t len = sizeof to;
	struct timeval guard = {.tv_sec = GUARD_S};
	CHECK_INT(getsockname(http->listen_fd, (struct sockaddr *)&to, &len), 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	c->n = 0;
	c->ended = false;
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &guard, sizeof guard);
	CHECK_INT(connect(c->fd, (struct sockaddr *)&to, sizeof to), 0);
}

static void client_close(struct client *c)
{
	close(c->fd);
	c->fd = -1;
}

static void client_put(struct client *c, const char *p, size_t n) { CHECK_INT(send(c->fd, p, n, MSG_NOSIGNAL), (ssize_t)n); }

static void ask(struct client *c, const char *method, const char *target, const char *headers)
{
	char text[4096];
	int n = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, target, headers);
	client_put(c, text, (size_t)n);
}

/* More bytes; false at the end, or if none come. */
static bool more(struct client *c)
{
	ssize_t n = c->ended || c->n == sizeof c->in ? 0 : recv(c->fd, c->in + c->n, sizeof c->in - c->n, 0);
	c->ended = c->ended || n <= 0;
	c->n += n > 0 ? (size_t)n : 0;
	return n > 0;
}

static void take(struct client *c, char *to, size_t n)
{
	if (to != NULL)
		memcpy(to, c->in, n);
	memmove(c->in, c->in + n, c->n - n);
	c->n -= n;
}

/* Of a line or head that ends so; 0: it doesn't come. */
static size_t until(struct client *c, const char *mark)
{
	for (;;) {
		char *at = memmem(c->in, c->n, mark, strlen(mark));
		if (at != NULL)
			return (size_t)(at - c->in) + strlen(mark);
		if (!more(c))
			return 0;
	}
}

static const char *header(const struct answer *a, const char *name)
{
	static char value[1024];
	char want[64];
	snprintf(want, sizeof want, "\r\n%s:", name);
	const char *at = strcasestr(a->head, want);
	if (at == NULL)
		return NULL;
	at += strlen(want);
	at += strspn(at, " ");
	snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
	return value;
}

static void read_head(struct client *c, struct answer *a)
{
	*a = (struct answer){0};
	size_t n = until(c, "\r\n\r\n");
	if (n == 0 || n >= sizeof a->head)
		return;
	take(c, a->head, n);
	a->status = (unsigned)strtoul(a->head + strlen("HTTP/1.1 "), NULL, 10);
}

/* One chunk behind what there is; false: the last one, or none comes. */
static bool read_chunk(struct client *c, struct answer *a)
{
	size_t line = until(c, "\r\n");
	size_t n = line == 0 ? 0 : strtoul(c->in, NULL, 16);
	if (line == 0)
		return false;
	while (c->n < line + n + 2)
		if (!more(c))
			return false;
	take(c, NULL, line);
	take(c, a->body + a->len, n);
	take(c, NULL, 2);
	a->len += n;
	a->whole = n == 0;
	return n > 0;
}

static void read_answer(struct client *c, struct answer *a, bool has_body)
{
	read_head(c, a);
	const char *length = header(a, "content-length");
	if (a->status == 0 || !has_body || a->status == 204) {
		a->whole = a->status != 0;
		return;
	}
	if (length == NULL) {
		while (read_chunk(c, a))
			continue;
		return;
	}
	size_t n = strtoul(length, NULL, 10);
	while (c->n < n)
		if (!more(c))
			return;
	take(c, a->body, n);
	a->len = n;
	a->whole = true;
}

static struct client client, other;
static struct answer answer;

static void get(const char *target)
{
	client_open(&client);
	ask(&client, "GET", target, "");
}

/* What it gets, and goes. */
static void got(unsigned status, const char *body)
{
	read_answer(&client, &answer, true);
	CHECK_INT(answer.status, status);
	CHECK(answer.whole);
	/* Each 409 and 503 says why, and nothing else does. */
	CHECK_INT(header(&answer, "electric-reason") != NULL, status == 409 || status == 503);
	if (body != NULL)
		CHECK_STR(answer.body, body);
	client_close(&client);
}

static const char *data(int first, int last)
{
	static char text[512];
	size_t n = (size_t)snprintf(text, sizeof text, "[");
	for (int i = first; i <= last; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "{\"n\":%d},", i);
	snprintf(text + n, sizeof text - n, UP_TO_DATE "]", last);
	return text;
}

/* ---- what needs no engine --------------------------------------------------------------------------- */

static void test_routes(void)
{
	static const struct {
		const char *method, *target;
		unsigned status;
		const char *body;
	} list[] = {
		{"GET", "/", 200, ""}, {"GET", "/v1/health", 200, "{\"status\":\"active\"}"}, {"HEAD", "/v1/health", 200, ""},
		{"GET", "/v1/ready", 200, "{\"status\":\"ready\"}"}, {"GET", "//v1//health", 200, NULL},
		{"POST", "/v1/health", 404, "Not found"}, {"GET", "/v1/shapes", 404, "Not found"}, {"PUT", "/v1/shape", 404, "Not found"},
		{"OPTIONS", "/v1/shape", 204, ""}, {"GET", ITEMS "&offset=-1", 401, NULL}, {"DELETE", ITEMS, 401, NULL},
		{"GET", "//v1/shape?table=items&offset=-1", 401, NULL}, {"GET", ITEMS "&offset=-1&secret=sesam", 401, NULL},
		{"GET", ITEMS "&offset=-1&secret=sesame", 200, NULL}, {"GET", ITEMS "&offset=-1&api_secret=mustard", 200, NULL},
		{"GET", ITEMS "&offset=-1&secret=mustar", 401, NULL}, {"GET", ITEMS "&offset=-1&secret=", 401, NULL},
	};
	begin();
	config.secrets = &secrets;
	serve();
	client_open(&client);
	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		ask(&client, list[i].method, list[i].target, "");
		read_answer(&client, &answer, strcmp(list[i].method, "HEAD") != 0);
		if (!CHECK_INT(answer.status, list[i].status) || !CHECK(answer.whole))
			printf("  %s %s\n", list[i].method, list[i].target);
		if (list[i].body != NULL)
			CHECK_STR(answer.body, list[i].body);
	}
	client_close(&client);
	end();
}

/* A disk that is full: whoever restarts what isn't healthy must not (that makes no room), whoever sends requests sends them
 * elsewhere; both see what it is. */
static void test_store_fails(void)
{
	static const struct {
		enum shapes_status status;
		const char *health;
	} list[] = {{SHAPES_ACTIVE, "starting"}, {SHAPES_STARTING, "starting"}, {SHAPES_WAITING, "waiting"}};
	char text[200];
	begin();
	serve();
	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		HAPPENS(engine.status = list[i].status; engine.store_fails = "store: commit: \"no\" space");
		get("/v1/health");
		snprintf(text, sizeof text, "{\"status\":\"%s\",\"reason\":\"store: commit: \\\"no\\\" space\"}", list[i].health);
		got(202, text);
		CHECK_STR(header(&answer, "cache-control"), "no-cache, no-store, must-revalidate");
		get("/v1/ready");
		got(503, "{\"status\":\"store_failing\",\"reason\":\"store: commit: \\\"no\\\" space\"}");
		CHECK_STR(header(&answer, "electric-reason"), "store-failing");
	}
	HAPPENS(engine.status = SHAPES_ACTIVE; engine.store_fails = NULL);
	get("/v1/health");
	got(200, "{\"status\":\"active\"}");
	get("/v1/ready");
	got(200, "{\"status\":\"ready\"}");
	CHECK(header(&answer, "electric-reason") == NULL);
	end();
}

/* Of two at the same time one has no place, and is told when to come back. */
static void test_no_place(void)
{
	begin();
	engine.look = LOOK_PENDING;
	config.live.max_concurrent_initial = 1;
	serve();
	client_open(&other);
	ask(&other, "GET", ITEMS "&offset=-1", "");
	AWAIT(engine.registered == 1);
	get(ITEMS "&offset=-1");
	got(503, NULL);
	CHECK(strstr(answer.body, "concurrent_request_limit_exceeded") != NULL);
	const char *after = header(&answer, "retry-after");
	CHECK(after != NULL && atoi(after) >= 1);
	CHECK_STR(header(&answer, "electric-reason"), "limit-initial");
	HAPPENS(engine.look = LOOK_FOUND);
	read_answer(&other, &answer, true);
	CHECK_INT(answer.status, 200);
	client_close(&other);
	end();
}

/* ---- look-ups --------------------------------------------------------------------------------------- */

static void test_lookup(void)
{
	begin();
	serve();
	get(ITEMS "&offset=-1");
	got(200, data(1, 2));
	CHECK_STR(header(&answer, "electric-handle"), HANDLE);
	CHECK_STR(header(&answer, "electric-offset"), "2_0");
	CHECK_STR(header(&answer, "electric-schema"), "{\"id\":{}}");
	CHECK_STR(header(&answer, "electric-has-data"), "true");
	CHECK_STR(header(&answer, "etag"), "\"" HANDLE ":-1:2_0\"");
	CHECK(header(&answer, "electric-up-to-date") != NULL);
	get(ITEMS "&offset=2_0&handle=" HANDLE);
	got(200, data(3, 2));
	get(ITEMS "&offset=1_0&handle=other");
	got(409, "[{\"headers\":{\"control\":\"must-refetch\"}}]");
	CHECK_STR(header(&answer, "electric-handle"), HANDLE);
	CHECK_STR(header(&answer, "electric-reason"), "set-changed"); /* as the engine remembers */
	get(ITEMS "&offset=now");
	got(200, data(3, 2));
	CHECK_STR(header(&answer, "electric-has-data"), "false");
	end();
}

static void test_lookup_refused(void)
{
	begin();
	engine.look = LOOK_NONE;
	serve();
	get(ITEMS "&offset=-1");
	got(400, NULL);
	CHECK(strstr(answer.body, "\"table\":[") != NULL);
	HAPPENS(engine.look = LOOK_FAILED; err_set(&engine.err, ERR_PG, "no right to look"));
	get(ITEMS "&offset=-1");
	got(400, "{\"message\":\"Invalid request\",\"errors\":{\"table\":[\"no right to look\"]}}");
	HAPPENS(err_set(&engine.err, ERR_PG_CONN, "gone"));
	get(ITEMS "&offset=-1");
	got(503, "{\"message\":\"Cannot connect to the database to verify the shape. Please try again later.\"}");
	CHECK_STR(header(&answer, "retry-after"), "1");
	CHECK_STR(header(&answer, "electric-reason"), "postgres-away");
	HAPPENS(engine.look = LOOK_FOUND; err_set(&engine.err, ERR_LIMIT, "too many shapes"));
	get(ITEMS "&offset=-1");
	got(503, "{\"message\":\"Failed to create shape, please retry\"}");
	CHECK_STR(header(&answer, "electric-reason"), "limit-size");
	HAPPENS(engine.full = true);
	get(ITEMS "&offset=-1");
	got(503, "{\"message\":\"The store takes no new shapes: it has reached BUSBAR_STORE_LIMIT\"}");
	CHECK_STR(header(&answer, "retry-after"), "7");
	CHECK_STR(header(&answer, "electric-reason"), "limit-store");
	end();
}

static void test_lookup_pending(void)
{
	begin();
	engine.look = LOOK_PENDING;
	serve();
	get(ITEMS "&offset=-1");
	AWAIT(engine.registered == 1);
	HAPPENS((void)0); /* a wake for nothing */
	AWAIT(engine.registered == 2);
	HAPPENS(engine.look = LOOK_FOUND);
	got(200, data(1, 2));
	end();
}

/* Who hangs up waits for nothing any more: not at the next wake, at once. */
static void test_hangup(void)
{
	begin();
	engine.look = LOOK_PENDING;
	serve();
	get(ITEMS "&offset=-1");
	AWAIT(engine.registered == 1);
	client_close(&client);
	AWAIT(engine.lookup.refs == 0);
	HAPPENS(engine.look = LOOK_FOUND);
	get(ITEMS "&offset=-1");
	got(200, NULL);
	get(ITEMS "&offset=2_0&live=true&handle=" HANDLE);
	AWAIT(engine.registered == 2);
	client_close(&client);
	AWAIT(engine.refs == 0);
	CHECK(engine.waiting.head == NULL);
	end();
}

static void test_not_ready(void)
{
	begin();
	engine.status = SHAPES_STARTING;
	engine.currency = SHAPES_UNPROVEN;
	serve();
	get(ITEMS "&offset=-1");
	AWAIT(engine.registered == 1);
	HAPPENS(engine.currency = SHAPES_CURRENT);
	AWAIT(engine.registered == 2);
	HAPPENS(engine.status = SHAPES_ACTIVE);
	got(200, data(1, 2));
	end();
}

/* ---- creation --------------------------------------------------------------------------------------- */

static void test_created(void)
{
	begin();
	engine.shape.state = SHAPE_CREATING;
	serve();
	get(ITEMS "&offset=-1");
	AWAIT(engine.registered == 1);
	CHECK_INT(atomic_load(&http->initial), 1);
	HAPPENS(engine.shape.state = SHAPE_LIVE);
	got(200, data(1, 2));
	end();
}

static void test_creation_fails(void)
{
	static const struct {
		enum err_kind kind;
		const char *sqlstate;
		unsigned status;
		const char *retry_after, *body, *reason;
	} list[] = {
		{ERR_NOT_FOUND, "", 409, NULL, "[{\"headers\":{\"control\":\"must-refetch\"}}]", "schema-changed"},
		{ERR_REQUEST, "", 400, NULL, "{\"message\":\"Invalid request\",\"errors\":{\"where\":[\"why\"]}}", NULL},
		{ERR_TIMEOUT, "", 503, "10", "{\"message\":\"why\"}", "postgres-slow"},
		{ERR_CONFIG, "", 503, "10", "{\"message\":\"why\"}", "postgres-refuses"},
		{ERR_PG_CONN, "", 503, "10", "{\"message\":\"why\"}", "postgres-away"},
		{ERR_LIMIT, "", 503, "10", "{\"message\":\"why\"}", "limit-size"},
		{ERR_PG, "40001", 503, "10", "{\"message\":\"why\"}", "postgres-slow"},
		{ERR_PG, "42501", 503, "10", "{\"message\":\"why\"}", "postgres-refuses"},
		{ERR_PG, "42883", 500, NULL, "{\"message\":\"Unexpected error while creating snapshot: why\"}", NULL},
		{ERR_PG, "22012", 500, NULL,
		 "{\"message\":\"Unexpected error while creating snapshot: the condition fails on a row of the table\"}", NULL},
		{ERR_PG, "54000", 500, NULL,
		 "{\"message\":\"Unexpected error while creating snapshot: the condition fails on a row of the table\"}", NULL},
		{ERR_PG, "54001", 500, NULL, "{\"message\":\"Unexpected error while creating snapshot: why\"}", NULL},
		{ERR_IO, "", 500, NULL, "{\"message\":\"Unexpected error while creating snapshot: why\"}", NULL},
		{ERR_DAMAGED, "", 500, NULL, "{\"message\":\"Unexpected error while creating snapshot: why\"}", NULL},
	};
	begin();
	serve();
	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		unsigned before = registered();
		HAPPENS(engine.shape.state = SHAPE_CREATING; err_clear(&engine.err));
		get(ITEMS "&offset=-1");
		AWAIT(engine.registered == before + 1);
		HAPPENS(engine.shape.state = SHAPE_FAILED; err_set(&engine.err, list[i].kind, "why");
		        snprintf(engine.err.sqlstate, sizeof engine.err.sqlstate, "%s", list[i].sqlstate); engine.err.of_rows = true);
		got(list[i].status, list[i].body);
		const char *after = header(&answer, "retry-after");
		if (list[i].retry_after != NULL)
			CHECK_STR(after, list[i].retry_after);
		else
			CHECK(after == NULL);
		if (list[i].reason != NULL)
			CHECK_STR(header(&answer, "electric-reason"), list[i].reason);
		bool known = header(&answer, "electric-internal-known-error") != NULL;
		CHECK_INT(known, list[i].status == 503);
		const char *cache = header(&answer, "cache-control");
		CHECK_STR(cache, list[i].status == 409 ? "public, max-age=1, must-revalidate" : "no-store");
	}
	end();
}

/* Gone before anybody saw it. */
static void test_rotated_while_created(void)
{
	begin();
	engine.shape.state = SHAPE_CREATING;
	serve();
	get(ITEMS "&offset=-1");
	AWAIT(engine.registered == 1);
	HAPPENS(engine.shape.state = SHAPE_GONE);
	got(409, NULL);
	CHECK(header(&answer, "electric-handle") == NULL);
	CHECK_STR(header(&answer, "electric-reason"), "table-truncated");
	end();
}

/* ---- long polls ------------------------------------------------------------------------------------- */

static void park_live(void)
{
	get(ITEMS "&offset=-1");
	got(200, NULL);
	unsigned before = registered();
	get(ITEMS "&offset=2_0&live=true&handle=" HANDLE);
	AWAIT(engine.registered == before + 1);
}

static void test_live_change(void)
{
	begin();
	serve();
	park_live();
	HAPPENS(engine.shape.tail = 3);
	got(200, data(3, 3));
	CHECK_STR(header(&answer, "electric-offset"), "3_0");
	CHECK(header(&answer, "electric-cursor") != NULL);
	CHECK(header(&answer, "electric-schema") == NULL);
	end();
}

/* A request waits until the connections are open again; one that is parked is left alone when they are closed. */
static void test_asleep(void)
{
	begin();
	engine.asleep = true;
	serve();
	get(ITEMS "&offset=-1");
	AWAIT(engine.registered == 1);
	HAPPENS(engine.asleep = false);
	got(200, data(1, 2));
	park_live();
	unsigned before = registered();
	HAPPENS(engine.asleep = true); /* woken without cause: it parks again, for what it waited for */
	AWAIT(engine.registered == before + 1);
	HAPPENS(engine.shape.tail = 3);
	got(200, data(3, 3));
	end();
}

static void test_live_rotation(void)
{
	begin();
	serve();
	park_live();
	HAPPENS(engine.shape.state = SHAPE_GONE);
	got(409, "[{\"headers\":{\"control\":\"must-refetch\"}}]");
	end();
}

/* Its definition stands: another takes its place, and who is told can ask for that one. */
static void test_live_succession(void)
{
	begin();
	serve();
	park_live();
	HAPPENS(engine.why = REASON_SET_CHANGED; engine.shape.state = SHAPE_GONE);
	got(409, "[{\"headers\":{\"control\":\"must-refetch\"}}]");
	CHECK_STR(header(&answer, "electric-handle"), HANDLE);
	CHECK_STR(header(&answer, "electric-reason"), "set-changed");
	end();
	begin(); /* none can be made */
	serve();
	park_live();
	HAPPENS(engine.why = REASON_SET_CHANGED; engine.shape.made = false; err_set(&engine.err, ERR_LIMIT, "full"); engine.shape.state = SHAPE_GONE);
	got(409, "[{\"headers\":{\"control\":\"must-refetch\"}}]");
	CHECK(header(&answer, "electric-handle") == NULL);
	end();
}

static void test_live_deadline(void)
{
	begin();
	config.live.long_poll_timeout_ms = 20;
	serve();
	park_live();
	got(200, data(3, 2));
	CHECK_STR(header(&answer, "electric-has-data"), "false");
	CHECK_STR(header(&answer, "electric-offset"), "2_0");
	end();
}

/* As at its deadline, and the connection ends. */
static void test_live_stop(void)
{
	begin();
	serve();
	park_live();
	stop();
	got(200, data(3, 2));
	CHECK_STR(header(&answer, "connection"), "close");
	end();
}

/* ---- bodies ----------------------------------------------------------------------------------------- */

/* A byte at a time: neither its head nor its body is ever there at once. */
static void test_slow_post(void)
{
	static const char body[] = "{\"table\":\"items\",\"columns\":[\"id\"]}";
	char text[512];
	begin();
	serve();
	client_open(&client);
	int n = snprintf(text, sizeof text, "POST /v1/shape?offset=-1 HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", sizeof body - 1, body);
	for (int i = 0; i < n; i++)
		client_put(&client, text + i, 1);
	read_answer(&client, &answer, true);
	CHECK_INT(answer.status, 200);
	CHECK_STR(answer.body, data(1, 2));
	CHECK_STR(header(&answer, "cache-control"), "no-cache");
	AWAIT(engine.shape.def.nselected == 1);
	CHECK_INT(atomic_load(&http->body_bytes), 0);
	/* On the same connection one that makes no sense, and one that ends in the middle. */
	ask(&client, "POST", "/v1/shape", "Content-Length: 2\r\n");
	client_put(&client, "{]", 2);
	read_answer(&client, &answer, true);
	CHECK_INT(answer.status, 400);
	ask(&client, "POST", "/v1/shape", "Content-Length: 100\r\n");
	client_put(&client, "{", 1);
	client_close(&client);
	end();
}

/* ---- answers in pieces ------------------------------------------------------------------------------ */

/* Half an answer doesn't look like a whole one: the body has no end. */
static void test_damage(void)
{
	static const enum shape_read ends[] = {SHAPE_READ_ERROR, SHAPE_READ_GONE};
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		begin();
		engine.shape.hurdle_at = 1;
		engine.shape.hurdle = SHAPE_READ_WAIT;
		err_set(&engine.err, ERR_DAMAGED, "the block is damaged");
		serve();
		get(ITEMS "&offset=-1");
		read_head(&client, &answer);
		CHECK_INT(answer.status, 200);
		while (strstr(answer.body, "{\"n\":1}") == NULL && read_chunk(&client, &answer))
			continue;
		CHECK_STR(answer.body, "[{\"n\":1}");
		AWAIT(engine.registered == 1);
		HAPPENS(engine.shape.hurdle = ends[i]);
		CHECK(!read_chunk(&client, &answer));
		CHECK(!answer.whole);
		CHECK(client.ended);
		client_close(&client);
		end();
	}
}

/* Rows that come late, and rows that are more than a page: all arrive, in order. */
static void test_large(void)
{
	begin();
	engine.shape.pad = 100000;
	engine.shape.tail = 8;
	engine.shape.hurdle_at = 5;
	engine.shape.hurdle = SHAPE_READ_WAIT;
	serve();
	get(ITEMS "&offset=-1");
	AWAIT(engine.registered == 1);
	HAPPENS(engine.shape.hurdle = SHAPE_READ_MORE);
	got(200, NULL);
	const char *at = answer.body;
	for (int i = 1; i <= 8 && at != NULL; i++) {
		char line[32];
		snprintf(line, sizeof line, "%c{\"n\":%d,\"pad\":\"", i == 1 ? '[' : ',', i);
		at = strstr(at, line);
		CHECK(at != NULL);
	}
	end();
}

/* All of it is known before it is read: it has a length, and one that isn't reached if the reader fails. */
static void test_sized(void)
{
	for (int damaged = 0; damaged < 2; damaged++) {
		begin();
		engine.shape.pad = 100000;
		engine.shape.tail = 9;
		engine.shape.chunk = 8;
		if (damaged) {
			engine.shape.hurdle_at = 5;
			engine.shape.hurdle = SHAPE_READ_ERROR;
			err_set(&engine.err, ERR_DAMAGED, "the block is damaged");
		}
		serve();
		get(ITEMS "&offset=-1");
		read_answer(&client, &answer, true);
		CHECK_INT(answer.status, 200);
		CHECK_INT(answer.whole, !damaged);
		CHECK(header(&answer, "content-length") != NULL && atoi(header(&answer, "content-length")) > 800000);
		CHECK_STR(header(&answer, "electric-offset"), "8_0");
		CHECK(header(&answer, "electric-up-to-date") == NULL);
		CHECK(damaged ? client.ended : answer.body[0] == '[' && answer.body[answer.len - 1] == ']');
		client_close(&client);
		end();
	}
}

/* The first line of the data of an event, of what has come since. */
static void event(const char *want)
{
	char text[256];
	int n = snprintf(text, sizeof text, "data: %s\n\n", want);
	while (answer.len < (size_t)n && read_chunk(&client, &answer))
		continue;
	if (!CHECK(answer.len >= (size_t)n && memcmp(answer.body, text, (size_t)n) == 0))
		printf("  want %s\n  got  %.200s\n", want, answer.body);
	answer.len -= answer.len < (size_t)n ? answer.len : (size_t)n;
	memmove(answer.body, answer.body + n, answer.len + 1);
}

/* It comes with the rows: with a write of its own it would wait until all other clients have theirs. */
static void event_up_to_date(int at)
{
	char text[128];
	CHECK(answer.len > 0);
	snprintf(text, sizeof text, UP_TO_DATE, at);
	event(text);
}

static void test_events(void)
{
	begin();
	serve();
	get(ITEMS "&offset=-1");
	got(200, NULL);
	get(ITEMS "&offset=1_0&live=true&live_sse=true&handle=" HANDLE);
	read_head(&client, &answer);
	CHECK_INT(answer.status, 200);
	CHECK_STR(header(&answer, "content-type"), "text/event-stream");
	CHECK_STR(header(&answer, "electric-offset"), "1_0");
	event("{\"n\":2}");
	event_up_to_date(2);
	AWAIT(engine.registered == 1);
	HAPPENS(engine.shape.tail = 4);
	event("{\"n\":3}");
	event("{\"n\":4}");
	event_up_to_date(4);
	AWAIT(engine.registered == 2);
	/* The reader has to wait in the middle. */
	HAPPENS(engine.shape.hurdle_at = 5; engine.shape.hurdle = SHAPE_READ_WAIT; engine.shape.tail = 6);
	event("{\"n\":5}");
	AWAIT(engine.registered == 3);
	HAPPENS(engine.shape.hurdle = SHAPE_READ_MORE);
	event("{\"n\":6}");
	event_up_to_date(6);
	AWAIT(engine.registered == 4);
	HAPPENS(engine.shape.state = SHAPE_GONE);
	CHECK(!read_chunk(&client, &answer));
	CHECK(answer.whole); /* a stream of events may end anywhere */
	client_close(&client);
	end();
}

/* ---- subsets ---------------------------------------------------------------------------------------- */

#define SUBSET ITEMS "&offset=now&subset__where=id+%3E+1"

static void test_subset(void)
{
	begin();
	engine.subset.state = SUBSET_QUEUED;
	serve();
	get(SUBSET);
	AWAIT(engine.registered == 1);
	HAPPENS(engine.subset.state = SUBSET_RUNNING);
	AWAIT(engine.registered == 2);
	HAPPENS(engine.subset.state = SUBSET_ROWS; engine.subset.rows = 2);
	AWAIT(engine.subset.rows == 0);
	HAPPENS(engine.subset.state = SUBSET_END);
	got(200, NULL);
	CHECK_STR(answer.body, "{\"metadata\":{\"snapshot_mark\":1}, \"data\": [{\"n\":2},{\"n\":1}]}");
	CHECK_STR(header(&answer, "electric-snapshot"), "true");
	CHECK_STR(header(&answer, "electric-offset"), "2_0");
	end();
}

static void test_subset_refused(void)
{
	begin();
	engine.subsets_full = true;
	serve();
	get(SUBSET);
	got(503, "{\"message\":\"Too many subset queries at once, please retry\"}");
	const char *after = header(&answer, "retry-after");
	CHECK(after != NULL && atoi(after) >= 7);
	CHECK_STR(header(&answer, "electric-reason"), "limit-subsets");
	HAPPENS(engine.subsets_full = false; engine.subset.state = SUBSET_RUNNING);
	get(SUBSET);
	AWAIT(engine.registered == 1);
	HAPPENS(engine.subset.state = SUBSET_FAILED; err_set(&engine.err, ERR_PG, "division by zero");
	        snprintf(engine.err.sqlstate, sizeof engine.err.sqlstate, "22012"));
	got(400, "{\"message\":\"Invalid request\",\"errors\":{\"subset\":{\"where\":\"division by zero\"}}}");
	/* Behind its first rows, and by a client that goes. */
	HAPPENS(engine.subset.state = SUBSET_ROWS; engine.subset.rows = 1);
	get(SUBSET);
	read_head(&client, &answer);
	CHECK_INT(answer.status, 200);
	AWAIT(engine.subset.rows == 0);
	client_close(&client);
	AWAIT(engine.subsets_freed == engine.subsets);
	end();
}

/* ---- subqueries ------------------------------------------------------------------------------------- */

enum { MEMBERS, PROJECTS, SYSTEM };
#define IN_MEMBERS "id IN (SELECT project FROM members WHERE user_id = 'ada')"
#define IN_BOTH IN_MEMBERS " OR id IN (SELECT id FROM projects WHERE owner = 'ada')"
#define NOT_THERE(schema, name) "{\"message\":\"Invalid request\",\"errors\":{\"table\":[\"Table \\\"" schema "\\\".\\\"" name \
	"\\\" does not exist. If the table name contains capitals or special characters you must quote it.\"]}}"

static void begin_with_inner(void)
{
	begin();
	engine.inner[MEMBERS] = (struct table_lookup){.schema = "public", .name = "members",
	                                             .table = table_of(TABLE(20008, "public", "members", "project", "user_id"))};
	engine.inner[PROJECTS] = (struct table_lookup){.schema = "public", .name = "projects",
	                                              .table = table_of(TABLE(20009, "public", "projects", "id", "owner"))};
	engine.inner[SYSTEM] = (struct table_lookup){.schema = "pg_catalog", .name = "pg_secrets",
	                                            .table = table_of(TABLE(1260, "pg_catalog", "pg_secrets", "id", "owner"))};
}

static const char *with_where(const char *start, const char *where)
{
	static char target[4096];
	size_t n = (size_t)snprintf(target, sizeof target, "%s&where=", start);
	for (; *where != '\0'; where++)
		n += (size_t)snprintf(target + n, sizeof target - n, "%%%02X", (unsigned char)*where);
	return target;
}

static void get_where(const char *where) { get(with_where(ITEMS "&offset=-1", where)); }

#define DEFINED 200, NULL

static void test_inner_tables(void)
{
	begin_with_inner();
	serve();
	get_where(IN_MEMBERS);
	got(DEFINED);
	CHECK_INT(engine.inner[MEMBERS].asked, 1);
	CHECK_INT(engine.inner[PROJECTS].asked, 0);
	get_where(IN_BOTH);
	got(DEFINED);
	CHECK_INT(engine.inner[PROJECTS].asked, 1);
	get_where("id IN (SELECT id FROM items WHERE name = 'x')"); /* its own table is there already */
	got(DEFINED);
	get_where("id IN (SELECT project FROM members WHERE project IN (SELECT id FROM projects WHERE id IN (SELECT id FROM items)))");
	got(DEFINED);
	get_where("id IN (SELECT project FROM members WHERE nothing = 1)");
	got(400, NULL);
	CHECK(strstr(answer.body, "{\"where\":[\"At location 41: unknown reference nothing\"]}") != NULL);
	get(with_where(ITEMS "&offset=-1&experimental_compaction=true", IN_MEMBERS));
	got(400, "{\"message\":\"Invalid request\",\"errors\":{\"experimental_compaction\":[\"can't be enabled for shapes with subqueries\"]}}");
	get(ITEMS "&offset=now&subset__where=id+IN+(SELECT+project+FROM+members)");
	got(400, "{\"message\":\"Invalid request\",\"errors\":{\"subset\":{\"where\":[\"Subqueries are not allowed in subsets\"]}}}");
	end();
}

/* One after the other; each is asked for once, whatever wakes the request meanwhile. */
static void test_inner_tables_pending(void)
{
	begin_with_inner();
	engine.look = engine.inner[MEMBERS].look = engine.inner[PROJECTS].look = LOOK_PENDING;
	serve();
	get_where(IN_BOTH);
	AWAIT(engine.registered == 1);
	HAPPENS(engine.look = LOOK_FOUND);
	AWAIT(engine.registered == 2 && engine.inner[MEMBERS].refs == 1);
	HAPPENS((void)0);
	AWAIT(engine.registered == 3);
	HAPPENS(engine.inner[MEMBERS].look = LOOK_FOUND);
	AWAIT(engine.registered == 4 && engine.inner[PROJECTS].refs == 1);
	HAPPENS((void)0);
	AWAIT(engine.registered == 5);
	HAPPENS(engine.inner[PROJECTS].look = LOOK_FOUND);
	got(DEFINED);
	CHECK_INT(engine.inner[MEMBERS].asked, 1);
	CHECK_INT(engine.inner[PROJECTS].asked, 1);
	/* And one who hangs up. */
	HAPPENS(engine.inner[PROJECTS].look = LOOK_PENDING);
	get_where(IN_BOTH " OR name = 'y'");
	AWAIT(engine.registered == 6);
	client_close(&client);
	AWAIT(engine.inner[PROJECTS].refs == 0 && engine.lookup.refs == 0);
	end();
}

static void test_inner_tables_refused(void)
{
	begin_with_inner();
	engine.inner[MEMBERS].look = LOOK_NONE;
	serve();
	get_where(IN_BOTH);
	got(400, NOT_THERE("public", "members"));
	CHECK_INT(engine.inner[PROJECTS].asked, 0);
	get_where("id IN (SELECT id FROM pg_catalog.pg_secrets)");
	got(400, NOT_THERE("pg_catalog", "pg_secrets"));
	HAPPENS(engine.inner[MEMBERS].look = LOOK_FAILED; err_set(&engine.err, ERR_PG, "no right to look"));
	get_where(IN_MEMBERS);
	got(400, "{\"message\":\"Invalid request\",\"errors\":{\"table\":[\"no right to look\"]}}");
	HAPPENS(err_set(&engine.err, ERR_PG_CONN, "gone"));
	get_where(IN_MEMBERS);
	got(503, "{\"message\":\"Cannot connect to the database to verify the shape. Please try again later.\"}");
	end();
}

/* A table that may not be named is like one that isn't there, and nobody looks. */
static void test_inner_tables_permitted(void)
{
	static char some[] = " public.projects , auth.*,\"Other\".\"a,b\"", all_public[] = "public.*", wrong[] = "members,,projects";
	begin_with_inner();
	config.subquery_tables = some;
	serve();
	get_where(IN_MEMBERS);
	got(400, NOT_THERE("public", "members"));
	get_where("id IN (SELECT id FROM projects WHERE id IN (SELECT project FROM members))");
	got(400, NOT_THERE("public", "members"));
	get_where("id IN (SELECT id FROM items WHERE name = 'x')");
	got(400, NOT_THERE("public", "items"));
	CHECK_INT(engine.inner[MEMBERS].asked, 0);
	get_where("id IN (SELECT id FROM projects)");
	got(DEFINED);
	get_where("id = 1");
	got(200, data(1, 2));
	stop();
	config.subquery_tables = all_public;
	serve();
	get_where(IN_BOTH);
	got(DEFINED);
	stop();
	struct err e;
	config.subquery_tables = wrong;
	CHECK_INT(http_check_config(&config, &e), -1);
	CHECK_STR(e.text, "BUSBAR_SUBQUERY_TABLES: Invalid zero-length delimited identifier. It is a list with commas, as in public.members, auth.*");
	CHECK_INT(http_start(&http, &config, &engine, &e), -1);
	end();
}

/* A shape of IN_BOTH, as if it had been there before us. */
static void make_known(void)
{
	static struct where_param none;
	struct where_params params = {&none, 0};
	const struct pg_table *list[] = {engine.table, engine.inner[MEMBERS].table, engine.inner[PROJECTS].table};
	struct where_tables tables = {.list = list, .n = 3};
	struct buf canonical = BUF_INIT(WHERE_CANONICAL_MAX);
	struct arena a = ARENA_INIT;
	char message[WHERE_MESSAGE_MAX];
	struct def_error complaint;
	struct where *w;
	struct pg_table *inner[] = {engine.inner[MEMBERS].table, engine.inner[PROJECTS].table};
	CHECK_INT(where_parse(engine.table, &tables, IN_BOTH, strlen(IN_BOTH), &params, NULL, false, &w, message), 0);
	where_canonical(w, &canonical);
	where_free(w);
	CHECK_INT(def_build(&a, engine.table, &(struct def_request){.log_mode = LOG_MODE_FULL}, 150000, &engine.shape.def, &complaint), 0);
	def_set_where(&engine.shape.def, canonical.data, inner, 2);
	engine.shape.made = true;
	buf_clear(&canonical);
	arena_clear(&a);
}

/* Its tables are those of the shape that the request names: no database is asked, now and again. */
static void test_inner_tables_known(void)
{
	begin_with_inner();
	make_known();
	engine.look = engine.inner[MEMBERS].look = engine.inner[PROJECTS].look = LOOK_FAILED;
	err_set(&engine.err, ERR_PG_CONN, "gone");
	serve();
	for (int i = 0; i < 4; i++) {
		get(with_where(ITEMS "&offset=1_0&handle=" HANDLE, IN_BOTH));
		got(200, data(2, 2));
	}
	CHECK_INT(engine.lookup.asked, 0);
	CHECK_INT(engine.inner[MEMBERS].asked, 0);
	get(with_where(ITEMS "&offset=1_0&handle=other", IN_BOTH));
	got(409, "[{\"headers\":{\"control\":\"must-refetch\"}}]"); /* whatever its successor would get */
	CHECK(engine.lookup.asked >= 2); /* with rests between */
	end();
}

/* What is remembered of a text holds until one of its tables is another. On one connection, which is one loop's. */
static void test_inner_tables_remembered(void)
{
	static struct pg_table *now;
	static const char *const columns[] = {"user_id", "user_id", "member", "user_id"};
	begin_with_inner();
	serve();
	client_open(&client);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		now = table_of(strcmp(columns[i], "member") == 0 ? TABLE(20008, "public", "members", "project", "member")
		                                                : TABLE(20008, "public", "members", "project", "user_id"));
		HAPPENS(pg_table_unref(engine.inner[MEMBERS].table); engine.inner[MEMBERS].table = now);
		for (int again = 0; again < 2; again++) {
			ask(&client, "GET", with_where(ITEMS "&offset=-1", IN_BOTH), "");
			read_answer(&client, &answer, true);
			bool fits = strcmp(columns[i], "member") != 0;
			CHECK_INT(answer.status, fits ? 200 : 400);
			CHECK(fits || strstr(answer.body, "unknown reference user_id") != NULL);
		}
	}
	CHECK_INT(engine.inner[MEMBERS].asked, 8);
	client_close(&client);
	end();
}

/* ---- deletion --------------------------------------------------------------------------------------- */

static void test_delete(void)
{
	begin();
	serve();
	get(ITEMS "&offset=-1");
	got(200, NULL);
	client_open(&client);
	ask(&client, "DELETE", "/v1/shape?handle=" HANDLE, "");
	AWAIT(engine.registered == 1);
	HAPPENS(engine.shape.state = SHAPE_GONE);
	got(202, "");
	client_open(&client);
	ask(&client, "DELETE", "/v1/shape?handle=" HANDLE, "");
	got(404, NULL);
	end();
}

/* ---- one connection --------------------------------------------------------------------------------- */

/* The library isn't asked for a 304: the client is taken away from it, and goes on all the same. */
static void test_not_modified(void)
{
	begin();
	serve();
	client_open(&client);
	for (int i = 0; i < 3; i++) {
		ask(&client, "GET", ITEMS "&offset=-1", i == 0 ? "" : "If-None-Match: \"" HANDLE ":-1:2_0\"\r\n");
		read_answer(&client, &answer, i == 0);
		CHECK_INT(answer.status, i == 0 ? 200 : 304);
		CHECK_STR(header(&answer, "etag"), "\"" HANDLE ":-1:2_0\"");
		CHECK(i == 0 || header(&answer, "content-length") == NULL);
	}
	ask(&client, "GET", ITEMS "&offset=-1", "");
	got(200, data(1, 2));
	end();
}

/* Between the daemons with much memory for a connection and those with little, and back. */
static void test_classes(void)
{
	begin();
	serve();
	client_open(&client);
	ask(&client, "GET", ITEMS "&offset=-1", "");
	read_answer(&client, &answer, true);
	CHECK_INT(answer.status, 200);
	for (int i = 3; i < 6; i++) {
		unsigned before = registered();
		char target[128];
		snprintf(target, sizeof target, ITEMS "&offset=%d_0&live=true&handle=" HANDLE, i - 1);
		ask(&client, "GET", target, "");
		AWAIT(engine.registered == before + 1);
		HAPPENS(engine.shape.tail = (lsn_t)i);
		read_answer(&client, &answer, true);
		CHECK_STR(answer.body, data(i, i));
		ask(&client, "OPTIONS", "/v1/shape", "");
		read_answer(&client, &answer, true);
		CHECK_INT(answer.status, 204);
	}
	client_close(&client);
	end();
}

/* Two requests at once, and one that is refused before the library sees it. */
static void test_behind_each_other(void)
{
	static const char two[] = "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/ready HTTP/1.1\r\nHost: x\r\n\r\n";
	begin();
	serve();
	client_open(&client);
	client_put(&client, two, sizeof two - 1);
	read_answer(&client, &answer, true);
	CHECK_STR(answer.body, "{\"status\":\"active\"}");
	read_answer(&client, &answer, true);
	CHECK_STR(answer.body, "{\"status\":\"ready\"}");
	ask(&client, "GET", "/v1/ready", "Host: y\r\n");
	got(400, "more than one Host\n");
	end();
}

/* ---- somebody else's lock --------------------------------------------------------------------------- */

#define PARKED 5

/* All who wait, for whatever, are answered at once; the engine wakes none of them itself. */
static void test_foreign(void)
{
	static struct client parked[PARKED];
	static const char *const what[PARKED] = {"look-up", "creation", "live", "subset", "deletion"};
	begin();
	serve();
	get(ITEMS "&offset=-1");
	got(200, NULL);
	for (size_t i = 0; i < PARKED; i++)
		client_open(&parked[i]);
	ask(&parked[2], "GET", ITEMS "&offset=2_0&live=true&handle=" HANDLE, "");
	AWAIT(engine.registered == 1);
	HAPPENS(engine.subset.state = SUBSET_RUNNING; engine.registered = 0);
	AWAIT(engine.registered == 1); /* woken for nothing, it waits again */
	ask(&parked[3], "GET", SUBSET, "");
	AWAIT(engine.registered == 2);
	locked();
	engine.shape.state = SHAPE_CREATING;
	unlock();
	ask(&parked[1], "GET", ITEMS "&offset=-1", "");
	AWAIT(engine.registered == 3);
	locked();
	engine.shape.state = SHAPE_LIVE;
	unlock();
	ask(&parked[4], "DELETE", "/v1/shape?handle=" HANDLE, "");
	AWAIT(engine.registered == 4);
	locked();
	engine.look = LOOK_PENDING;
	unlock();
	ask(&parked[0], "GET", ITEMS "&offset=-1", "");
	AWAIT(engine.registered == 5);
	locked();
	engine.currency = SHAPES_FOREIGN;
	if (CHECK(engine.on_foreign != NULL))
		engine.on_foreign(engine.on_foreign_ctx);
	unlock();
	for (size_t i = 0; i < PARKED; i++) {
		read_answer(&parked[i], &answer, true);
		if (!CHECK_INT(answer.status, 503) || !CHECK(strstr(answer.body, "Another instance holds the lock") != NULL))
			printf("  %s\n", what[i]);
		client_close(&parked[i]);
	}
	end();
}

/* One that comes between: it found what we have current, and parks when everybody has been told. */
static void test_foreign_meanwhile(void)
{
	begin();
	engine.look = LOOK_PENDING;
	engine.foreign_soon = true;
	serve();
	get(ITEMS "&offset=-1");
	got(503, NULL);
	CHECK(strstr(answer.body, "Another instance holds the lock") != NULL);
	CHECK_STR(header(&answer, "electric-reason"), "lock-held");
	end();
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_ERROR + 1);
	RUN(test_routes);
	RUN(test_store_fails);
	RUN(test_no_place);
	RUN(test_lookup);
	RUN(test_lookup_refused);
	RUN(test_lookup_pending);
	RUN(test_hangup);
	RUN(test_not_ready);
	RUN(test_asleep);
	RUN(test_created);
	RUN(test_creation_fails);
	RUN(test_rotated_while_created);
	RUN(test_live_change);
	RUN(test_live_rotation);
	RUN(test_live_succession);
	RUN(test_live_deadline);
	RUN(test_live_stop);
	RUN(test_slow_post);
	RUN(test_damage);
	RUN(test_large);
	RUN(test_sized);
	RUN(test_events);
	RUN(test_subset);
	RUN(test_subset_refused);
	RUN(test_inner_tables);
	RUN(test_inner_tables_pending);
	RUN(test_inner_tables_refused);
	RUN(test_inner_tables_permitted);
	RUN(test_inner_tables_known);
	RUN(test_inner_tables_remembered);
	RUN(test_delete);
	RUN(test_not_modified);
	RUN(test_classes);
	RUN(test_behind_each_other);
	RUN(test_foreign);
	RUN(test_foreign_meanwhile);
	return check_done("test_http");
}
