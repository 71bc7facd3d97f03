/*
 * line.h - rendered changes, shared by all shapes that show them, and a log's entries. References are atomic: any thread.
 */
#ifndef BUSBAR_SHAPES_LINE_H
#define BUSBAR_SHAPES_LINE_H

#include <stdatomic.h>

#include "shapes/shapes.h"

/* One rendered change, shared by all shapes that show it the same way. `split`: where `"last":true,` goes. */
struct line {
	_Atomic uint32_t refs;
	uint32_t len, split;
	int8_t grows; /* by so many rows a shape that shows it: 1 an insert, -1 a delete; 0 of one that was read back */
	char text[];
};

#define LINE_LAST "\"last\":true,"
#define LINE_LAST_LEN (sizeof LINE_LAST - 1)

struct line *line_new(const char *text, size_t len, size_t split);
struct line *line_ref(struct line *l);
void line_unref(struct line *l);

#define ENTRY_LAST 1u      /* the shape's last of its transaction */
#define ENTRY_CHUNK_END 2u /* closes a chunk */

struct entry {
	struct log_offset at;
	struct line *line; /* a reference */
	uint32_t flags;
};

static inline uint32_t entry_bytes(const struct entry *e)
{
	return e->line->len + (e->flags & ENTRY_LAST ? (uint32_t)LINE_LAST_LEN : 0u);
}

#endif
