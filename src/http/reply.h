/*
 * reply.h - putting a response together: status, headers in their order, body. Private to src/http.
 */
#ifndef BUSBAR_HTTP_REPLY_H
#define BUSBAR_HTTP_REPLY_H

#include "http/page.h"
#include "http/request.h"

#define CACHE_DEFAULT "max-age=0, private, must-revalidate"
#define TYPE_JSON "application/json; charset=utf-8"

/* Headers as name, NUL, value, NUL. */
struct reply {
	unsigned status;
	struct buf headers;
};

/* What every response begins with, up to and with CORS. cache NULL: no cache-control. */
void reply_begin(struct request *r, struct reply *p, unsigned status, const char *cache, bool cors);
void reply_header(struct reply *p, const char *name, const char *value);
void reply_headerf(struct reply *p, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The ends: each queues the response and lets go of what it took. */
enum step reply_text(struct request *r, struct reply *p, const char *body, size_t len); /* copied */
enum step reply_buf(struct request *r, struct reply *p, struct buf *body);              /* taken */
enum step reply_page(struct request *r, struct reply *p, struct page *page);            /* taken */
/* A body of unknown length; `free_source` is called exactly once, whatever happens. */
enum step reply_source(struct request *r, struct reply *p, MHD_ContentReaderCallback read, void *source,
                       void (*free_source)(void *));
/* The same of a length that is known, asked for `block` bytes at a time. */
enum step reply_sized(struct request *r, struct reply *p, uint64_t size, size_t block, MHD_ContentReaderCallback read,
                      void *source, void (*free_source)(void *));

/* A 304: no body and no length. */
enum step reply_not_modified(struct request *r, struct reply *p);

/* Whole answers. */
enum step reply_empty(struct request *r, unsigned status); /* nothing but the status; closes */
enum step reply_not_found(struct request *r);
enum step reply_unauthorized(struct request *r);
/*
 * Whether the request gets the 409 of the handle that it names, whatever else is wrong with it: clients drop their rows when they
 * are told to fetch anew, and by nothing else. So who still shows what a revoked grant let him see gets that, and the refusal when
 * he asks again. Not where another instance may know the handle. All refusals here ask it themselves.
 */
bool reply_tells_gone(const struct request *r);
enum step reply_errors(struct request *r, const struct params_errors *e); /* 400 */
enum step reply_error(struct request *r, const char *field, const char *text);
/* {"message":…}; retry_after_s 0: none. Not of a 503. */
enum step reply_message(struct request *r, unsigned status, const char *text, int retry_after_s, bool known);
/* 503 {"message":…}; what is refused, and why, is counted and remembered. */
enum step reply_refused(struct request *r, enum reason why, const char *text, int retry_after_s, bool known);
/* The same where the message is for clients and tells less than we know: `cause` is for the operator, and isn't sent. */
enum step reply_refused_by(struct request *r, enum reason why, const char *text, const char *cause, int retry_after_s, bool known);
/* electric-reason; after what Electric sends. */
void reply_reason(struct reply *p, enum reason why);
enum step reply_body_error(struct request *r, unsigned status, const char *error, const char *details);
/* 409; handle NULL: none. Counted; remembered if it tells of no shape's end but of the handle. */
enum step reply_must_refetch(struct request *r, const char *handle, enum reason why);

/* cache-control of an answer with this status that isn't about data (docs/protocol.md 4.2, 1 to 4), and its
 * content-type; `type` NULL: none. */
void reply_begin_shape(struct request *r, struct reply *p, unsigned status, const char *cache, const char *type);

#endif
