/*
 * answer.h - answers with data. Private to src/http.
 */
#ifndef BUSBAR_HTTP_ANSWER_H
#define BUSBAR_HTTP_ANSWER_H

#include "http/request.h"

/* True if the client has what `to` would be the end of (before anything is waited for). */
bool answer_etag_matches(struct request *r, struct log_offset to);
enum step answer_not_modified(struct request *r, const struct shape_slice *slice);
enum step answer_data(struct request *r, const struct shape_slice *slice);
/* Nothing new: the end of a long poll, and offset=now. */
enum step answer_no_changes(struct request *r, const struct shape_slice *slice);
enum step answer_sse(struct request *r, const struct shape_slice *slice);

#endif
