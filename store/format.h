/*
 * format.h - the version of what is on the disk (FORMAT.md), and the names of its files.
 */
#ifndef BUSBAR_STORE_FORMAT_H
#define BUSBAR_STORE_FORMAT_H

#define STORE_FORMAT_VERSION 4u
#define STORE_FORMAT_SEALED 4u /* the first with seals, heads and stamps */
#define STORE_FORMAT_OLDEST 1u /* read, and from then on of this version */

#define STORE_DIR "busbar" /* in ELECTRIC_STORAGE_DIR */
#define STORE_FILE "data.mdb"
#define STORE_DIR_COMPACT "compact" /* in that: has a copy that is being made (compact.c), under the same name */

#endif
