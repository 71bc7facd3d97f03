/*
 * load.h - the engine's state from the store, before any thread runs.
 */
#ifndef BUSBAR_SHAPES_LOAD_H
#define BUSBAR_SHAPES_LOAD_H

#include "base/err.h"

struct shapes;

int engine_load(struct shapes *s, struct err *e) MUST_USE;

#endif
