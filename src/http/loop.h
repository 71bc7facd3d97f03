/*
 * loop.h - connections: accepting, the epoll loops that drive libmicrohttpd, parking, deadlines,
 * hang-ups. Private to src/http. (What a request means, params.c and body.c, knows no libmicrohttpd.)
 *
 * Each loop is a thread that owns its connections and everything that hangs on them, so nothing here
 * is locked but the wake queue. Why it is built so (many small daemons without a listening socket,
 * nested level-triggered epoll descriptors) was measured, see ARCHITECTURE.md.
 *
 * The life of a connection: accepted -> its first request's head arrives and is looked at (arrival.h) -> handed to a
 * daemon -> (request -> parked and woken, any number of times -> response -> asleep)* -> closed by the daemon, which
 * frees it. A daemon reads nothing that wasn't looked at; where it may have (more came behind a request, or a body that
 * doesn't say how long it is), the response to the last request that was looked at closes the connection.
 *
 * Daemons are of two classes, by the memory that they have for a connection. Between requests a connection
 * is asleep: the daemon doesn't see its socket, we do. What arrives is looked at (arrival.h) and read by a
 * daemon of its class; if that is another one, the connection moves there. So a crowd that waits takes
 * little memory although any of them may ask with ten thousand bytes, and being asleep also saves the
 * library's turns of epoll_ctl() and a recv() for nothing at each request.
 */
#ifndef BUSBAR_HTTP_LOOP_H
#define BUSBAR_HTTP_LOOP_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "http/arrival.h"
#include "http/http.h"

/* ---- named limits ------------------------------------------------------------------------------- */

#define HTTP_LOOPS 2
/* A daemon walks its list of suspended connections at each wake; 1,000 each is too many. */
#define DAEMON_CONNECTIONS_MAX 128
/* Memory of libmicrohttpd for one connection: a request line of 10,000 bytes, its headers and those of
 * the response must fit. Most of it is given back while a client waits, see conn_trim(). */
#define POOL_BYTES 32768
#define HEADERS_OVERHEAD_BYTES 2048 /* the library's own headers, and its structure for each of the request's */
/* The same for small live requests (arrival.h): the request, that overhead and the headers of an answer. The library
 * zeroes all of a pool after each response: with the large one a crowd that is woken pays for that, and for giving it
 * back, more than for all else. */
#define POOL_SMALL_BYTES (ARRIVAL_SMALL_BYTES_MAX + HEADERS_OVERHEAD_BYTES + 1536)
/* Descriptors kept for everything else (store, Postgres, connections that are moving): at the limit we stop accepting. */
#define FILES_RESERVED 768
#define ACCEPT_PAUSE_MS 100 /* after accept() ran out of something */
#define ACCEPT_BATCH 64
#define LISTEN_BACKLOG 4096
/* From the first byte all headers must be there. */
#define HEADERS_MAX_MS 10000
#define BODY_MAX_MS 60000
#define HUNGUP_IDLE_MS 200 /* between requests, with a client that will send no more */
#define HUNGUP_REQUEST_MS 1000 /* in the middle of one */
/* Connections whose memory pool waits to be trimmed: at most so many, for at most so long. */
#define TRIM_QUEUE_MAX 256
#define TRIM_AFTER_MS 500
/* http_stop(): what is parked is answered and what is being sent gets so long. */
#define STOP_GRACE_MS 600
/* After a refusal by our own hand the client has so long to read it, and may send so much more at a time. */
#define REFUSED_MAX_MS 2000
#define DISCARD_READS_MAX 256 /* of 16 KB */
#define DAEMON_RUNS_MAX 16 /* in a row, before the others get their turn */
#define DAEMON_RUN_US 1000 /* likewise: a run may send a megabyte */
#define UPKEEP_MS 500
#define CROWD_MIN 500 /* connections: giving memory back after fewer isn't worth it */

/* ---- structures --------------------------------------------------------------------------------- */

/* Numbers that nothing else has by chance: what comes out of a pointer without a type is looked at. */
enum source_kind { SOURCE_LISTENER = 0x4c697374, SOURCE_WAKE = 0x57616b65, SOURCE_DAEMON = 0x4461656d, SOURCE_CONN = 0x436f6e6e };
struct source {
	enum source_kind kind; /* first member of what an epoll event points to; 0 once that is gone */
};

struct loop;
struct request;
struct loop_work;

struct daemon {
	struct source source;
	struct MHD_Daemon *mhd;
	size_t pool_bytes; /* POOL_BYTES or POOL_SMALL_BYTES */
	unsigned connections;
	bool touched; /* to be run in this round */
	struct daemon *next_touched;
};

enum conn_state {
	CONN_NEW,     /* accepted, not a byte yet; not with a daemon */
	CONN_IDLE,    /* between requests */
	CONN_HEADERS, /* the request line, or its first byte, is there */
	CONN_BODY,
	CONN_PARKED,  /* suspended, waiting for a wake or its deadline */
	CONN_SENDING, /* a response is on its way */
	CONN_CLOSING, /* its last request has ended: the daemon is about to close it */
	CONN_REFUSED, /* answered by ourselves, and ended; not with a daemon. What still comes is thrown away */
};

struct conn {
	struct source source;
	struct loop *loop;
	struct daemon *daemon;
	struct MHD_Connection *mhd; /* NULL while CONN_NEW */
	struct request *request;    /* NULL between requests */
	int fd;
	enum conn_state state;
	bool hungup;      /* the client closed its side, at least half of it */
	bool cut;         /* being closed by us */
	bool late;        /* between requests for too long, but the next one was just arriving */
	bool asleep;      /* between requests, suspended: its next request is looked at before the daemon reads it */
	bool first;       /* its request is the first that its daemon reads, and begins with its first byte */
	bool begun;       /* some bytes of its next request have arrived, not yet all of its head */
	bool framed;      /* `looked` is known */
	bool settled;     /* the daemon has read what we have looked at and not a byte more */
	unsigned pending; /* requests that the daemon may read, whose answers haven't ended */
	uint64_t looked;  /* bytes from the client that were looked at, with the bodies that they announced */
	bool wake_queued; /* guarded by the loop's wake_lock, with the two links */
	struct conn *wake_next, *wake_prev;
	uint32_t requests; /* answered so far */
	uint32_t heap_at;  /* place in the loop's heap of deadlines */
	int64_t deadline_ms;
	uint64_t acked; /* bytes the client had taken at the last look */
	char *pool;     /* where the daemon keeps this connection's memory; NULL if not known */
	bool trim_queued;
	int64_t trim_at_ms;
	struct conn *trim_next, *trim_prev;
	struct conn *next, *prev; /* all of the loop */
};

struct loop {
	struct http *http;
	unsigned index;
	pthread_t thread; /* the starter's, to join it */
	pthread_t self;   /* the same, from its beginning on: whose all of this is */
	int epoll_fd, wake_fd;
	int dead_fd; /* a socket whose other end is closed, see conn_leave() */
	struct source wake_source;
	struct daemon **daemons;
	size_t ndaemons;
	struct daemon *touched;
	struct conn *conns;
	struct conn **heap;
	size_t heap_len, heap_cap;
	struct conn *trim_first, *trim_last;
	size_t trim_len;
	struct conn *adding; /* being handed to a daemon just now */
	_Atomic unsigned nconns;
	unsigned peak; /* of nconns, since memory was given back */
	bool stopping;
	int64_t stop_at_ms, now_ms, upkeep_at_ms;
	struct arena scratch; /* of one step of one request */
	struct loop_work *work; /* the requests' */
	uint64_t random;

	_Atomic bool unpark_all; /* loops_unpark() */
	pthread_mutex_t wake_lock;
	struct conn *woken, *arrived; /* from other threads */
	bool ended;                   /* takes no more of those */
};

/* How fast places of new shapes become free (admit.c). */
struct admit_pace {
	pthread_mutex_t lock;
	/* under lock */
	bool counting;   /* places are wanted */
	int64_t since_ms;
	unsigned freed;  /* since then, the one that began it counted */
	double per_s;
	double next_ms;  /* the next one who is sent away is to come back then */
};

/*
 * What connections lead to. The loops know no requests: they are given this at the start, by server.c. Called on the
 * loop's thread, but for work_new() and work_free(), before that begins and after it has ended.
 */
struct loop_handlers {
	/* libmicrohttpd's, whose `cls` is the loop. uri: the request line is there; returns the request's context */
	void *(*uri)(void *cls, const char *uri, struct MHD_Connection *mhd);
	MHD_AccessHandlerCallback handle;
	MHD_RequestCompletedCallback completed;
	void (*closed)(struct conn *c); /* it is gone; its request, if there still is one, goes with it */
	/* What the requests of a loop share. */
	struct loop_work *(*work_new)(void);
	void (*work_free)(struct loop_work *w); /* NULL is fine */
	/* Each UPKEEP_MS while it is wanted, and else when something happens. True: so much memory was
	 * let go that the C library should give it back. `trims`: it will in any case. */
	bool (*upkeep)(struct loop *l, bool trims);
	bool (*upkeep_wanted)(const struct loop *l);
};

struct http {
	const struct config *config;
	const struct loop_handlers *handlers;
	struct shapes *shapes;
	struct permit *permit;
	struct loop loops[HTTP_LOOPS];
	unsigned nloops;
	struct source listener;
	int listen_fd;
	bool accepting;
	int64_t accept_again_ms;
	unsigned conns_max;
	_Atomic bool stopping;
	_Atomic unsigned initial, existing; /* admitted now */
	struct admit_pace pace;
	_Atomic uint64_t body_bytes;        /* of all POST bodies being read */
};

/* ---- what is believed ---- */

static inline bool loop_is_ours(const struct loop *l) { return pthread_equal(l->self, pthread_self()) != 0; }

/* It is there, and its loop's thread is who asks. */
static inline bool conn_is_ours(const struct conn *c) { return c->source.kind == SOURCE_CONN && loop_is_ours(c->loop); }

/* Its daemon has read a request that isn't answered yet. */
static inline bool conn_in_request(const struct conn *c)
{
	return c->state == CONN_HEADERS || c->state == CONN_BODY || c->state == CONN_SENDING;
}

/* ---- for route.c and the handlers --------------------------------------------------------------- */

/* Suspends the connection until conn_wake() or the deadline. false: the client is gone, don't park. */
bool conn_park(struct conn *c, int64_t deadline_ms) MUST_USE;
/* From any thread, under any lock: the parked connection goes on soon. Harmless if it isn't parked. */
void conn_wake(struct conn *c);
/* A response has been queued. */
void conn_sending(struct conn *c);
void conn_body(struct conn *c);
/* The request line is there; `uri` is NULL if that isn't known yet. */
void conn_headers(struct conn *c);
/* The request is over, the connection may carry another. `stays`: the daemon won't close it by itself. */
void conn_idle(struct conn *c, bool stays);
/*
 * The request ended and the connection with it, the daemon is about to let go of its memory: at once after
 * a response that says so; otherwise it may have to be reminded.
 */
void conn_closing(struct conn *c, bool at_once);
/* The request has been read to its end. False: the daemon may have bytes that nobody has looked at; the answer has to say
 * that the connection closes, and what follows isn't read. */
bool conn_request_read(struct conn *c) MUST_USE;
/* The daemon doesn't see its socket until conn_rouse(). */
void conn_suspend(struct conn *c);
/*
 * Takes the client of a suspended connection away from the daemon, which is left with a dead socket under the same number, finds the end and lets
 * go of it as of any client that has left: for another daemon, or for an answer by our own hand. The real socket goes on
 * under a number of its own, in a connection (CONN_NEW) that is returned. NULL: it can't be done, and nothing has changed.
 */
struct conn *conn_leave(struct conn *c);
/* Where the first request of a connection begins is where the daemon's memory for it begins. */
void conn_learn_pool(struct conn *c, const char *method);

/* ---- connections, among these files: conn.c ------------------------------------------------------- */

struct conn *conn_new(struct loop *l, int fd);    /* CONN_NEW; of no list yet */
void conn_link(struct loop *l, struct conn *c);   /* from now on the loop's */
void conn_arrive(struct loop *l, struct conn *c); /* the same, and the loop hears of its socket */
void conn_free(struct conn *c);                   /* its descriptor is closed, or about to be by the daemon */
void conn_drop(struct conn *c);                   /* closes one that no daemon has */
void conn_cut(struct conn *c);
void conn_unpark(struct conn *c);
bool conn_can_sleep(void);       /* with this version of the library */
void conn_moved(struct conn *c); /* its socket went to another; what is left here ends */
void conn_rouse(struct conn *c); /* the daemon may read again, if it was asleep */
void conn_touch(struct conn *c); /* its daemon is to be run in this round */
void daemon_touch(struct loop *l, struct daemon *d);
/* A client that has taken nothing of the response for a tcp_send_timeout is cut, however slow the others are. */
void conn_check_progress(struct loop *l, struct conn *c);
void conn_wake_unlink(struct loop *l, struct conn *c); /* with the wake_lock held */
void conns_trim_due(struct loop *l);

/* ---- deadline.c */
void deadline_add(struct loop *l, struct conn *c);
void deadline_remove(struct loop *l, struct conn *c);
void conn_set_deadline(struct conn *c, int64_t deadline_ms);

/* ---- daemon.c */
/* Gives a connection, whose first request has been looked at, to a daemon with so much memory. */
void daemon_take(struct loop *l, struct conn *c, size_t pool_bytes);
void daemons_run(struct loop *l); /* those that were touched */
void daemons_end(struct loop *l);

/* ---- accept.c: the first loop's */
void accept_listen(struct http *h, bool on); /* off: until accept_again_ms */
bool accept_some(struct http *h);            /* true if there may be more */

/* ---- intake.c */
bool intake_first(struct loop *l, struct conn *c); /* no daemon has it yet. False: nothing has arrived, or not all */
bool intake_next(struct loop *l, struct conn *c);  /* it is asleep; likewise */
void intake_discard(struct conn *c); /* what a client still sends after it has been refused; and its end */
/* By our own hand; no daemon has it. `why` lives for ever. */
void intake_refuse(struct loop *l, struct conn *c, unsigned status, const char *why, bool head);

/* ---- loop.c */
struct conn *conn_of(struct MHD_Connection *mhd);
uint64_t loop_random(struct loop *l);

int loops_start(struct http *h, struct err *e) MUST_USE;
void loops_stop(struct http *h);
/* All who are parked go on soon, whatever they wait for. Any thread, under any lock, while the loops run. */
void loops_unpark(struct http *h);

#endif
