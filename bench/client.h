/*
 * client.h - HTTP clients of a shape, thousands on one epoll loop.
 *
 * A client asks as Electric's clients do: from offset -1 (or where it was put) until up-to-date, and then, if
 * it is to follow, with live=true by long-polling or as an event stream. It keeps its connection as long as the server does,
 * opens another when it is closed, and waits as long as a 503 asks for.
 * Everything runs in the thread that calls loop_run(); callbacks may call client_go().
 */
#ifndef BUSBAR_BENCH_CLIENT_H
#define BUSBAR_BENCH_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/httpres.h"
#include "bench/scan.h"
#include "bench/util.h"

#define REQUEST_BYTES_MAX 16384

enum client_mode {
	CLIENT_SYNC,   /* until up-to-date, then idle */
	CLIENT_POLL,   /* long-polls for ever */
	CLIENT_SSE,    /* event streams for ever */
	CLIENT_DELETE, /* DELETEs the shape once; whatever the answer */
};

enum client_event {
	CLIENT_READY,    /* a live request is on its way for the first time */
	CLIENT_SYNCED,   /* CLIENT_SYNC, CLIENT_DELETE: done */
	CLIENT_ANSWERED, /* a live response has ended */
	CLIENT_LOST,     /* with `persist`: the connection broke or nobody listens; it is tried again */
	CLIENT_REFETCH,  /* 409: `handle` is the new one or "" */
	CLIENT_FAILED,   /* `error` says why; the client is stopped */
};

enum client_state { CLIENT_IDLE, CLIENT_QUEUED, CLIENT_CONNECTING, CLIENT_WAITING, CLIENT_HELD, CLIENT_SLEEPING };

struct client;
struct loop;

/*
 * The bodies of a sync that was checked row by row. A later sync that gets the same bytes has the same rows: comparing is
 * all its client does. From the first byte that differs on it reads everything the long way, from the beginning.
 */
#define TRAIL_MAX 16
#define TRAIL_BYTES_MAX (64u << 20)
struct trail {
	unsigned n; /* 0: none, or there were too many bodies */
	struct buf body[TRAIL_MAX];
};

void trail_init(struct trail *t);
void trail_clear(struct trail *t);

typedef bool client_msg_fn(struct client *c, const struct msg *m, int64_t now);
typedef size_t client_fast_fn(struct client *c, const char *data, size_t len); /* see scan_fast_fn */
typedef void client_event_fn(struct client *c, enum client_event what);

struct client {
	struct loop *loop;
	const struct url *url;
	const char *query; /* the shape: "table=…&where=…", encoded; borrowed */
	const char *secret;
	client_msg_fn *on_msg;
	client_fast_fn *fast; /* rows it knows don't come to on_msg; may be NULL */
	client_event_fn *on_event;
	void *ctx;
	int64_t number; /* the caller's */

	enum client_mode mode;
	enum client_state state;
	bool hold;     /* after a live answer wait in CLIENT_HELD for client_go() */
	bool persist;  /* go on trying while nobody listens (a restart) */
	bool live;     /* the request under way is a live one */
	bool used;     /* the connection has answered before */
	bool counted;  /* counts as busy */
	bool ready;    /* CLIENT_READY was said */
	int fd;
	uint32_t stalls; /* answers without progress, one after the other */
	char handle[HTTP_HANDLE_MAX], offset[HTTP_OFFSET_MAX], cursor[HTTP_CURSOR_MAX];
	uint64_t last_lsn, last_op; /* of the last change in an event stream */
	int64_t started_ns, first_byte_ns, read_ns; /* of the first request; of the first byte of its body; of the last read */
	uint64_t bytes, requests, retries;
	int status; /* of the last answer */
	struct trail *record; /* CLIENT_SYNC: to be filled; may be NULL */
	const struct trail *trail; /* CLIENT_SYNC: may be NULL */
	unsigned step;   /* which answer of the sync this is */
	size_t body_at;  /* how much of its body was the trail's */
	bool same;       /* all rows so far were the trail's; with CLIENT_SYNCED: all rows of the sync were */
	bool own;        /* this body isn't the trail's, and is read */
	struct httpres http;
	struct scan scan;
	struct sse sse;
	char *unsent; /* the rest of a request that didn't fit the socket */
	size_t unsent_len, unsent_at;
	struct client *next; /* in the queue or among the sleepers */
	int64_t wake_ns;
	struct buf error;
};

struct loop {
	int epoll_fd;
	char *read_buf;
	unsigned busy, busy_max; /* clients that connect or sync at a time */
	unsigned open;           /* connections */
	struct client *queue, **queue_tail, *sleepers;
	uint64_t retries, failures, reconnects;
	struct err err; /* the first failure */
	unsigned clients;
	size_t request_bytes; /* live requests get a header that makes them this long; 0: as they are */
	void (*tick)(void *ctx, int64_t now); /* about each 20 ms */
	void *tick_ctx;
	int64_t tick_ns;
};

int loop_init(struct loop *l, struct err *e) MUST_USE;
void loop_clear(struct loop *l); /* after the clients */

/* Until *done (looked at after each batch of events), the deadline or a stop: 0, -1 (past it), -2 (stopped). */
int loop_run(struct loop *l, const bool *done, int64_t deadline_ns);

void client_init(struct client *c, struct loop *l, const struct url *u, const char *secret, const char *query);
void client_clear(struct client *c);

/* Begins: at `offset` of `handle`, or from the start when handle is NULL or "". */
void client_start(struct client *c, enum client_mode mode, const char *handle, const char *offset);
/* In CLIENT_REFETCH: from the start, with the handle that the 409 named, if it did, as the official client does. */
void client_refetch(struct client *c);
void client_go(struct client *c); /* goes on from CLIENT_HELD */

/* One request, waited for in the thread that calls: -1 (no answer), or its status. Body, cut at `size`, if wanted. */
int http_once(const struct url *u, const char *method, const char *path, char *body, size_t size, struct httpres *head,
	      int timeout_ms);

#endif
