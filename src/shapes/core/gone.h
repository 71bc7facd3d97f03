/*
 * gone.h - why shapes ended that nobody holds any more, for the clients that come back with their handles. In memory only, of a
 * bounded number of them: who comes later is told that the handle is unknown. Any thread, no lock.
 */
#ifndef BUSBAR_SHAPES_GONE_H
#define BUSBAR_SHAPES_GONE_H

#include "base/reason.h"

/* shapes_why_gone() (shapes.h) knows it from now on, until others have taken its place. */
void gone_note(const char *handle, enum reason why);

#endif
