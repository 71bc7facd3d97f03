/*
 * request.h - one request, from its first line to the end of its response. Private to src/http.
 *
 * A request is a small state machine: step() functions do what can be done now and say whether an
 * answer was queued or the connection is parked; after a wake or a deadline they are entered again.
 * While parked it holds little: what a step parsed is parsed again rather than kept.
 */
#ifndef BUSBAR_HTTP_REQUEST_H
#define BUSBAR_HTTP_REQUEST_H

#include "http/loop.h"
#include "http/params.h"
#include "http/route.h"

/* ---- named limits ------------------------------------------------------------------------------- */

#define BODY_BYTES_MAX 8000000
#define BODY_DISCARD_BYTES_MAX 32000000 /* read all the same, so that the refusal arrives; beyond, hung up on */
#define BODIES_BYTES_MAX (128u << 20) /* of all requests together; beyond, 503 */
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

struct request {
	struct conn *conn;
	struct http *http;
	struct waiter waiter;   /* for what the phase waits */
	struct waiter rotation; /* beside a wait for the stream: the shape may go meanwhile */
	char *uri;              /* as sent; NULL once it isn't needed any more */
	size_t uri_len;
	struct buf body;
	uint32_t body_counted; /* of http.body_bytes */
	uint8_t method, path, admission, phase;
	bool headers_seen, close, too_long, body_wanted, body_too_large, body_refused, waiting;
	bool persistent; /* HTTP/1.1: without `close` the connection goes on */
	/* Of the headers; point into the daemon's memory, which lives as long as the request. */
	const char *origin, *request_id;
	unsigned origins;
	bool has_etags;

	int64_t began_ms, phase_began_ms, live_until_ms;
	struct table_lookup *lookup;
	struct shape *shape;
	struct log_offset offset;
	uint8_t offset_kind;
	bool live, sse, has_cursor;
	int64_t cursor;
	struct subset_request *subset; /* NULL: it asks for no subset */
};

/* Parks the connection; the phase is entered again when `waiter` is woken or at the deadline. */
enum step request_park(struct request *r, int64_t deadline_ms) MUST_USE;
/* Off all wait lists. Before asking again, and before what is waited for is let go. */
void request_cancel(struct request *r);
void request_set_shape(struct request *r, struct shape *s); /* takes the reference */
/* The query string, without the `?`. */
const char *request_query(const struct request *r, size_t *len);

enum step shape_start(struct request *r); /* GET, HEAD, POST; the body, if any, is complete */
enum step shape_step(struct request *r);  /* again, after a wake */
enum step delete_start(struct request *r);
enum step delete_step(struct request *r);
enum step health_start(struct request *r);
enum step ready_start(struct request *r);
enum step options_start(struct request *r);

/* ---- pieces shared by GET and DELETE (get_shape.c) ------------------------------------------------ */

/*
 * From parameters to a definition. STEP_NEXT: it is in *def, the caller's to clear. `known` (may be NULL)
 * is a shape the request names; its table is used if the names agree, so that no database is needed.
 */
enum step shape_resolve_def(struct request *r, const struct shape_params *p, const struct shape *known,
                            struct shape_def *def) MUST_USE;
/* STEP_NEXT: what the process has may be served. Else the request is parked, or answered 503 (health.c). */
enum step hold_current(struct request *r) MUST_USE;
/* Holds the request while the service starts; STEP_NEXT: it is active. */
enum step shape_hold_ready(struct request *r) MUST_USE;

/* ---- subsets (subset.c) ----------------------------------------------------------------------------- */

/* Checks what the subset is of and keeps it in r->subset (docs/protocol.md 2.6 h). STEP_NEXT: it is fine. */
enum step subset_prepare(struct request *r, const struct shape_params *p, const struct shape_def *def) MUST_USE;
/* From what the request covers to the query; its rows are the answer. */
enum step subset_start(struct request *r, const struct shape_slice *slice);
enum step subset_step(struct request *r); /* again, after a wake */
void subset_request_free(struct request *r);

/* ---- answers with data (answer.c) ------------------------------------------------------------------- */

/* True if the client has what `to` would be the end of (before anything is waited for). */
bool answer_etag_matches(struct request *r, struct log_offset to);
enum step answer_not_modified(struct request *r, const struct shape_slice *slice);
enum step answer_data(struct request *r, const struct shape_slice *slice);
/* Nothing new: the end of a long poll, and offset=now. */
enum step answer_no_changes(struct request *r, const struct shape_slice *slice);
enum step answer_sse(struct request *r, const struct shape_slice *slice);

/* ---- admission (admit.c) ---------------------------------------------------------------------------- */

/* Takes a permit; false: there is none, and admit_refuse() is the answer. */
bool admit(struct request *r, bool existing) MUST_USE;
/* Its snapshot has begun: others may ask for new shapes. */
void admit_swap(struct request *r);
void admit_release(struct request *r);
enum step admit_refuse(struct request *r);
/* Seconds after which `ms` will have passed, a little more for some than for others: so that those who are sent away
 * together don't come back together. */
int admit_retry_after(struct request *r, int64_t ms);

#endif
