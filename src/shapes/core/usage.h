/*
 * usage.h - what the store takes against what it may take (BUSBAR_STORE_LIMIT, BUSBAR_STORE_MIN_FREE). The WRITER measures it,
 * those who make shapes ask whether there is room, the KEEPER (prep/keeper.c) is woken when something has to go.
 *
 * What counts is the pages that hold something. The file never shrinks by itself: what is deleted is free for what comes, from
 * the next commit but one on. Rows of the stream and the slot's progress are always written, whatever the limit; it is kept by
 * what goes for them, so that it can be passed by what is written between two looks.
 *
 * Any thread, unless it says otherwise. With neither setting the level is always USAGE_FINE.
 */
#ifndef BUSBAR_SHAPES_USAGE_H
#define BUSBAR_SHAPES_USAGE_H

#include <pthread.h>
#include <stdatomic.h>

#include "shapes/shapes.h"
#include "store/store.h"

/* By how much of the limit is used, in per cent. */
#define USAGE_EVICT_PERCENT 90
#define USAGE_REFUSE_PERCENT 95
#define USAGE_TARGET_PERCENT 85 /* eviction goes on down to this */
/* A disk without free space doesn't make the limit smaller than this: the journal must have room. BUSBAR_STORE_LIMIT's least, too. */
#define USAGE_LIMIT_LEAST ((uint64_t)64 << 20)
/* So long the rows of a shape being made wait for others to go, with their snapshot held in Postgres. */
#define USAGE_ROOM_MAX_MS 15000

enum usage_level {
	USAGE_FINE,
	USAGE_EVICT,  /* shapes that nobody reads go, the least recently read first */
	USAGE_REFUSE, /* ... and no new ones are made */
	USAGE_FULL,   /* ... what is being made is given up, and then shapes that are read go, the largest log first */
};

struct usage {
	uint64_t limit, min_free; /* the settings, 0: none */
	_Atomic uint64_t used, file, free, most; /* most: the limit as it is now, 0: none */
	_Atomic uint64_t going;   /* of shapes that have gone, and that the store still has */
	_Atomic uint64_t coming;  /* rows of shapes being made that the WRITER has been given, and that `used` has not */
	_Atomic int level;        /* enum usage_level */
	_Atomic bool by_disk;     /* it is the disk that is full */
	_Atomic bool nothing_left; /* the KEEPER has looked, and all shapes are in use */
	uint64_t frozen;          /* the WRITER's: the file's size since the disk has been full, 0: it isn't */
	pthread_mutex_t lock;     /* a leaf; for the conditions */
	pthread_cond_t keeper, room;
	bool stop;
	pthread_t thread;         /* the KEEPER */
	bool started;
};

struct shapes;

void usage_init(struct usage *u);
void usage_free(struct usage *u);
/* Pure: what `used` is held below, 0: nothing; *frozen as above, for the next time. */
uint64_t usage_most(const struct usage *u, const struct store_usage *now, uint64_t *frozen);
enum usage_level usage_level_of(uint64_t used, uint64_t most);

/* The WRITER has measured; `came` of what was coming is in it. */
void usage_measured(struct shapes *s, const struct store_usage *now, uint64_t came);
/* Rows of a shape that is being made go to the WRITER. */
void usage_comes(struct shapes *s, uint64_t bytes);
/* A shape has left the registry, which is locked; of what has gone so many bytes are free now; nothing is on its way out any more,
 * the registry being locked. */
void usage_leaves(struct shapes *s, const struct shape *shape);
void usage_freed(struct shapes *s, uint64_t bytes);
void usage_all_freed(struct shapes *s);
/* Who waits in usage_room() looks again: it is stopping, or a shape has gone. */
void usage_again(struct shapes *s);

/*
 * Whether more rows of a shape that is being made may be written: waits while others go for them. 0; -1 with ERR_LIMIT: the store
 * is full, and the shape's definition is held back for a while (shapes_held_back()).
 */
int usage_room(struct shapes *s, struct shape *shape, struct err *e) MUST_USE;

#endif
