/*
 * held_back.h - definitions of which no shape is made for a while: it would only go again. Requests ask through
 * shapes_held_back(), shapes.h. Any thread; registry_lock is taken inside.
 */
#ifndef BUSBAR_SHAPES_HELD_BACK_H
#define BUSBAR_SHAPES_HELD_BACK_H

#include "shapes/shapes.h"

/* A changed row took too much work for the condition: from 10 s on, twice as long each time. */
void held_back_costly(struct shapes *s, const struct shape_def *def);
/* What its subqueries select changed, so that its shape rotated or couldn't be made: if it does so again and again, some seconds. */
void held_back_changed(struct shapes *s, const struct shape_def *def);
/* Its rows didn't fit into the store: from 10 s on, twice as long each time, up to minutes. */
void held_back_large(struct shapes *s, const struct shape_def *def);
void held_back_free(struct shapes *s);

#endif
