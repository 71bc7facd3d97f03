/*
 * fields.h - JSON written field by field into a buffer. Commas are seen to; names and texts that are constants of ours need no escape,
 * others get it. Fails as the buffer does. One thread at a time.
 */
#ifndef BUSBAR_OPS_FIELDS_H
#define BUSBAR_OPS_FIELDS_H

#include "base/buf.h"

/* `name` is NULL inside a list, and for the outermost. '{' or '['; its end is the other. */
void field_open(struct buf *out, const char *name, char bracket);
void field_close(struct buf *out, char bracket);
void field_text(struct buf *out, const char *name, const char *text); /* NULL: null */
void field_bytes(struct buf *out, const char *name, const char *p, size_t len); /* a text of so many bytes */
void field_int(struct buf *out, const char *name, int64_t v);
void field_known(struct buf *out, const char *name, int64_t v); /* below zero: null */
void field_milli(struct buf *out, const char *name, int64_t thousandths); /* as 12.345; below zero: null */
void field_bool(struct buf *out, const char *name, bool v);
void field_null(struct buf *out, const char *name);
void field_time(struct buf *out, const char *name, int64_t wall_us); /* "2026-11-30T19:40:00.123Z" */

/* {"error":"NAME: TEXT"}, of a parameter; gives the status, 400. */
unsigned field_refusal(struct buf *out, const char *name, const char *text);

#endif
