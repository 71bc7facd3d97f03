/*
 * stream.h - responses produced piece by piece: large parts of a log, and server-sent events. Private to src/http.
 */
#ifndef BUSBAR_HTTP_STREAM_H
#define BUSBAR_HTTP_STREAM_H

#include "http/reply.h"

/* What a streamed response consists of. */
struct stream_plan {
	bool sse;
	struct shape_slice slice;
	lsn_t seen;  /* of the up-to-date message at the end, if the slice is up to date */
	struct shape_reader *reader; /* taken; NULL: nothing to begin with */
	struct buf lines;            /* taken: what was read already */
	uint64_t size;               /* of the whole body, whose lines end in ','; 0: not known. Then no lines were read */
};

/* Queues the response of r->shape; what `p` and `plan` have is taken. */
enum step stream_reply(struct request *r, struct reply *p, struct stream_plan *plan);

struct loop_work;
/* Those of events whose clients have taken nothing for HELD_MAX_MS let go of what was read for them. */
void streams_let_go(struct loop_work *w, int64_t now_ms);

#endif
