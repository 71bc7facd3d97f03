/*
 * subset.h - answers to subset requests. Private to src/http.
 */
#ifndef BUSBAR_HTTP_SUBSET_H
#define BUSBAR_HTTP_SUBSET_H

#include "http/request.h"

/* Checks what the subset is of and keeps it in r->subset (docs/protocol.md 2.6 h). STEP_NEXT: it is fine. */
enum step subset_prepare(struct request *r, const struct shape_params *p, const struct shape_def *def) MUST_USE;
/* From what the request covers to the query; its rows are the answer. */
enum step subset_start(struct request *r, const struct shape_slice *slice);
enum step subset_step(struct request *r); /* again, after a wake */

#endif
