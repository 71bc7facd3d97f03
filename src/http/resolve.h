/*
 * resolve.h - from parameters to a definition. Private to src/http.
 */
#ifndef BUSBAR_HTTP_RESOLVE_H
#define BUSBAR_HTTP_RESOLVE_H

#include "http/request.h"

/*
 * STEP_NEXT: it is in *def, the caller's to clear. `known` (may be NULL)
 * is a shape the request names; its tables are used if the names agree, so that no database is needed.
 */
enum step resolve_def(struct request *r, const struct shape_params *p, const struct shape *known,
                      struct shape_def *def) MUST_USE;

#endif
