/* top_show.h - the JSON of an admin port as the lines of a terminal. Private to src/ops; pure. */
#ifndef BUSBAR_OPS_TOP_SHOW_H
#define BUSBAR_OPS_TOP_SHOW_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"

struct top_look {
	const json_t *status, *clients, *shapes;
};
/* Lines of at most `width` columns of a terminal, each ended by a newline, at most `height` of them (0: as many as there are).
 * Characters that could steer the terminal, or turn text around, are left out, also those that have no width. */
void top_show(struct buf *out, const struct top_look *l, unsigned width, unsigned height, bool colours);
/* Such a line of a text. */
void top_line(struct buf *out, const char *text, unsigned width);

#endif
