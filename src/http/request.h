/*
 * request.h - one request, from its first line to the end of its response: what its head says, its body, parking.
 * Private to src/http; the loop's thread, but for what wakes it.
 *
 * A request is a small state machine: step() functions do what can be done now and say whether an
 * answer was queued or the connection is parked; after a wake or a deadline they are entered again.
 * While parked it holds little: what a step parsed is parsed again rather than kept.
 */
#ifndef BUSBAR_HTTP_REQUEST_H
#define BUSBAR_HTTP_REQUEST_H

#include "http/loop.h"
#include "http/params.h"
#include "http/path.h"

/* ---- named limits ------------------------------------------------------------------------------- */

#define BODY_BYTES_MAX 8000000
#define BODY_DISCARD_BYTES_MAX 32000000 /* read all the same, so that the refusal arrives; beyond, hung up on */
#define READY_HOLD_MS 5000            /* requests wait so long for a service that is starting */
#define TABLE_LOOKUP_MAX_MS 10000
#define SHAPE_START_MAX_MS 45000      /* docs/protocol.md 8.3 */
#define DELETE_MAX_MS 10000
#define SNAPSHOT_PROGRESS_MAX_MS 90000 /* docs/protocol.md 6.3: a reader gives up on a snapshot that stands still */
#define SSE_TOTAL_MS 60000
#define SUBSET_QUEUE_MAX_MS 10000     /* a subset query waits so long for a session */
#define SUBSET_START_MAX_MS 90000     /* and so long for its first row; the engine's own limits come before */
#define SSE_KEEPALIVE_MS 21000
/* Headers of a response must fit into the daemon's pool beside those of the request. */
#define RESPONSE_HEADERS_BYTES_MAX (POOL_BYTES - 4096)

enum method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_DELETE, METHOD_OPTIONS, METHOD_OTHER };
enum admission { ADMIT_NONE, ADMIT_INITIAL, ADMIT_EXISTING, ADMIT_REFUSED_INITIAL, ADMIT_REFUSED_EXISTING };

enum step {
	STEP_DONE,  /* a response is queued, or the connection is parked */
	STEP_CLOSE, /* close the connection without an answer */
	STEP_NEXT,  /* go on with the next phase */
};

enum phase {
	PHASE_START,    /* parameters, table, definition, which shape */
	PHASE_STARTED,  /* until the shape is durable and its first rows are there */
	PHASE_CONFLICT, /* 409 with the handle of `shape`, as soon as it is durable */
	PHASE_SLICE,    /* what the response covers; a live request waits here for something new */
	PHASE_SUBSET,   /* parked until a subset query has its first rows */
	PHASE_DELETE,   /* parked until a deletion is durable */
};

/* What a request may hold of the modules above this one. Each sets its hook when it begins to hold something; at the
 * request's end they are called in this order. */
enum request_held { HELD_TABLES, HELD_SUBSET, HELD_ADMISSION, REQUEST_HELD };

struct route;

#define REQUEST_MAGIC 0x52657175u

struct request {
	unsigned magic; /* REQUEST_MAGIC as long as it is there */
	struct conn *conn;
	struct http *http;
	struct waiter waiter;   /* for what the phase waits */
	struct waiter rotation; /* beside a wait for the stream: the shape may go meanwhile */
	const struct route *route; /* NULL: there is nothing of that path and method */
	void (*release[REQUEST_HELD])(struct request *r); /* NULL: nothing is held */
	char *uri;              /* as sent; NULL once it isn't needed any more */
	size_t uri_len;
	struct buf body;
	uint32_t body_counted; /* of http.body_bytes */
	uint8_t method, path, admission, phase;
	bool headers_seen, close, body_wanted, body_too_large, body_refused, waiting;
	bool persistent; /* HTTP/1.1: without `close` the connection goes on */
	/* Of the headers; point into the daemon's memory, which lives as long as the request. */
	const char *origin, *request_id;
	unsigned origins;
	bool has_etags;

	int64_t began_ms, phase_began_ms, live_until_ms;
	struct table_lookup *lookup;
	struct inner_tables *inner; /* NULL: none were looked up */
	struct shape *shape;
	struct log_offset offset;
	uint8_t offset_kind;
	uint8_t why;           /* enum reason: the handle that it names isn't served, for that */
	bool gone_first;       /* it names a shape with subqueries that is gone: whatever else is to be said, it is told that (reply.c) */
	bool live, sse, has_cursor;
	bool awake;            /* hold_awake() is done */
	uint8_t waits_as;      /* enum metric_waiters and one, 0: as none */
	int64_t cursor;
	struct subset_request *subset; /* NULL: it asks for no subset */
	char *named;           /* the handle that isn't served, while the one that is comes into being; NULL: none, or no handle of ours */
};

/* ---- its life ------------------------------------------------------------------------------------ */

/* Of a connection that has none. `uri` (NULL: a line of one word) is copied. */
struct request *request_new(struct conn *c, const char *uri);
/* With all that it holds; NULL is fine. Its connection has none then. */
void request_free(struct request *r);
/* Parks the connection; the phase is entered again when `waiter` is woken or at the deadline. */
enum step request_park(struct request *r, int64_t deadline_ms) MUST_USE;
/* The socket takes, or has taken, what the change that woke it was waited for. */
void request_delivered(struct request *r);
/* Off all wait lists. Before asking again, and before what is waited for is let go. */
void request_cancel(struct request *r);
void request_set_shape(struct request *r, struct shape *s); /* takes the reference */
/* What has been asked for is known: from here on it keeps no more than it needs. */
void request_shed(struct request *r);

/* ---- what it says -------------------------------------------------------------------------------- */

/* Method, path and headers. 0, or the status of its refusal. *body_bytes: of the body, as far as it says. */
unsigned request_read_head(struct request *r, const char *method, const char *version, uint64_t *body_bytes) MUST_USE;
/* Keeps what of the body is needed, lets the rest pass. */
void request_take_body(struct request *r, const char *p, size_t len);
/* The query string, without the `?`. */
const char *request_query(const struct request *r, size_t *len);

#endif
