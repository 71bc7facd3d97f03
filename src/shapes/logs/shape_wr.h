/*
 * shape_wr.h - what the WRITER knows of a shape. Its thread alone, but before it runs.
 */
#ifndef BUSBAR_SHAPES_SHAPE_WR_H
#define BUSBAR_SHAPES_SHAPE_WR_H

#include "shapes/shapes.h"

struct shape;

struct shape_wr {
	struct shape *fold_prev, *fold_next;
	bool in_fold_list;
	bool dropped;         /* its ITEM_DROP is committed */
	uint64_t drop_attempt; /* the attempt to commit that its ITEM_DROP was seen in last; 0: none */
	uint64_t oldest_seq;  /* journal batch of its oldest entry that isn't folded */
	struct log_offset staged_chunk_end; /* the last chunk end that was staged */
	uint64_t staged_bytes, staged_in;   /* of the running transaction, unless writer.unstaged has moved on since */
	int64_t staged_rows;
};

#endif
