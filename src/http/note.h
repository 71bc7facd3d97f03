/*
 * note.h - what an answer leaves in the counters and the ring of events (base/events.h), for people. Private to src/http.
 *
 * The request's shape and table stand with it, as far as they are known yet: those of its shape, or what its query string names.
 * Costs less than the answer, for crowds get such answers.
 */
#ifndef BUSBAR_HTTP_NOTE_H
#define BUSBAR_HTTP_NOTE_H

#include "http/request.h"

/* A 503. `cause`: what the message says, or more. */
void note_refusal(struct request *r, enum reason why, const char *cause);
/* Keeps the handle that a request names, for its 409: its query string is gone by then. Terminated. */
void note_named(struct request *r, const char *handle, size_t len);
/* A 409, if no shape's end is what it tells of: that stands there already, as a rotation. `cause` NULL: the reason's own text. */
void note_refetch(struct request *r, enum reason why, const char *cause);

#endif
