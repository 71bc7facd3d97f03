/*
 * lines.h - a log's lines in the form of a response, for answers that are read at once and for those that are streamed.
 * Any thread.
 */
#ifndef BUSBAR_HTTP_LINES_H
#define BUSBAR_HTTP_LINES_H

#include "base/buf.h"
#include "shapes/shapes.h"

/* `{"headers":{"control":"up-to-date",…}}` */
void put_up_to_date(struct buf *b, lsn_t seen);
/* Lines as read from a shape, appended in the form of the response. `first`: nothing before them. */
void put_lines(struct buf *to, const char *p, size_t len, bool sse, bool *first);
/* Says so in the log. */
void lines_cannot_read(const struct shape *s, const char *why);

#endif
