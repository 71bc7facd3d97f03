/*
 * disk.h - what the store asks of its directory: that it is there, on which kind of file system, that nobody else has it, and
 * how much room is left.
 *
 * Thread:  any.
 * Memory:  none.
 */
#ifndef BUSBAR_STORE_DISK_H
#define BUSBAR_STORE_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define STORE_PATH_MAX 4096

/* NFS and its like, and what reaches over a network behind FUSE; of another FUSE it warns. */
bool disk_is_network(const char *path);
/* mkdir -p, as Electric creates its storage directory. */
int disk_make_dirs(const char *path, struct err *e) MUST_USE;
/* Takes the file lock of the store in `path`, waiting for a process that is ending; closing *fd releases it. `dir` is what the
 * user calls it. */
int disk_lock(const char *path, const char *dir, int *fd, struct err *e) MUST_USE;
/* Makes a new file's name durable, too; not all file systems can, and then it can't be helped. */
void disk_sync_directory(const char *path);
/* What a compaction has made that didn't come to its end: nothing is in it that the store lacks. */
int disk_remove_copy(const char *path, struct err *e) MUST_USE;
/* LMDB reports a short write as EIO; on a full disk that is what it was. */
bool disk_is_full(const char *path);
/* Bytes that are free there for us; false: that can't be told. */
bool disk_free_bytes(const char *path, uint64_t *bytes);

#endif
