/*
 * check.h - whether the pages that LMDB itself trusts are sound.
 *
 * LMDB 0.9 follows page numbers, lengths and flags as they are in the file: a flipped bit there is a crash or, worse,
 * another shape's rows. So before the file is opened all of its own pages are read once: both meta pages, every branch
 * and leaf page, the list of free pages. Not the large values: they have seals, which are looked at when they are read.
 *
 * Thread:  the one that opens the store, with nobody else at the file.
 * Memory:  a bit for each page of the file, and a page for each level of a tree, while it runs.
 * Fails:   a file that can't be read is an error; damage is an answer.
 */
#ifndef BUSBAR_STORE_CHECK_H
#define BUSBAR_STORE_CHECK_H

#include "base/err.h"

enum check_result {
	CHECK_SOUND,
	CHECK_DAMAGED, /* `e`: where and how */
	CHECK_NEWER,   /* of a format above `known`: nothing else was looked at. `e`: which */
	CHECK_FAILED,  /* it can't be read */
};

/* `known`: the newest format whose rules these are; `sealed`: the first with seals, stamps and two versions. */
enum check_result check_file(const char *path, unsigned known, unsigned sealed, struct err *e);

#endif
