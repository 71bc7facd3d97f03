/*
 * admin.h - the admin port: how Busbar does, told to people: a page, and the same as JSON. docs/admin.md says what is in it.
 *
 * It is a table of paths for a side listener (http/side.h), on whose thread they are filled, one at a time. What they need of the past (how
 * fast, how late) is a ring of samples, ADMIN_SAMPLES of them, which MAIN takes, one each second. Nothing here is on the path of
 * a change, and nothing fails.
 */
#ifndef BUSBAR_OPS_ADMIN_H
#define BUSBAR_OPS_ADMIN_H

#include "base/buf.h"
#include "ops/ops.h"

#define ADMIN_SAMPLES 601 /* ten minutes */

struct admin;

struct admin *admin_new(const struct ops *o); /* which stays until admin_free() */
void admin_free(struct admin *a);             /* NULL is fine */
/* Takes a sample. MAIN, about each second. */
void admin_sample(struct admin *a);

struct admin_path {
	const char *path, *type;
	unsigned (*fill)(void *ctx, const char *query, struct buf *out); /* as a side_path's; ctx: a struct admin */
	const char *policy; /* the content-security-policy; NULL: it loads nothing */
};
#define ADMIN_PATHS_MAX 16
extern const struct admin_path admin_paths[];
extern const size_t admin_npaths;

#endif
