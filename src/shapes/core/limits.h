/*
 * limits.h - named limits of the engine that more than one file knows; the others stand where they are used.
 */
#ifndef BUSBAR_SHAPES_LIMITS_H
#define BUSBAR_SHAPES_LIMITS_H

#include <stdint.h>

#include "base/lsn.h"

/* Lines of a running transaction kept in memory; beyond, they are staged in the store. */
#define TXN_BYTES_MAX (8u << 20)
/* One commit of the writer: bytes it is given, and a page for each place it writes them to (LMDB keeps the
 * pages of its largest transaction for as long as the environment is open). */
#define BATCH_BYTES_MAX (16u << 20)
/* What a row has made grow is given back at once beyond this: the buffer it was rendered in, and the session that it was
 * copied over (libpq keeps the room for its largest message for as long as it is connected). */
#define ROW_ROOM_KEPT_BYTES (1u << 20)
/* The mark is reserved this far ahead of what was delivered (bytes of WAL), and again at half of it. */
#define MARK_STEP_BYTES ((lsn_t)256 << 20)
/* Journal and tails: folding starts above base + per active shape, never above max. */
#define JOURNAL_BYTES_BASE (16u << 20)
#define JOURNAL_BYTES_PER_SHAPE 4096u
#define JOURNAL_BYTES_MAX (512u << 20)
#define JOURNAL_REFS_MAX 8000000u
/* A copy waits so long for the writer to take its rows, with the table's snapshot held in Postgres; then it is given up
 * and its transaction ended. Well above what a busy disk needs for a queue of 16 MB. */
#define WRITER_ROOM_MAX_MS 15000
/* Whoever waits until all that is queued is durable. */
#define WRITER_FLUSH_MAX_MS 15000
/* Shapes of one table that share one snapshot. */
#define SNAPSHOT_SHARED_MAX 128
/* A snapshot that is to be taken again waits so long: the transaction in question must end on the server. */
#define RETAKE_WAIT_MS 20
/* Connections nobody has used for so long are closed. */
#define CONNECTION_IDLE_MS 60000
#define SHAPE_LOCKS 256
#define HANDLE_TEXT_MAX 40
/* A shape's record, a table's, a journal batch: sizes beyond are a bug or damage. */
#define RECORD_BYTES_MAX (16u << 20)
/* The stream waits so long for a look at tables that may have changed; beyond, their shapes rotate. The same for a look-up
 * of a relation's ancestors; beyond, the stream starts again. */
#define LOOK_WAIT_MS 10000

#endif
