/*
 * version.h - the commit that this binary was built from. Defined in a file that the build writes (src/version.cmake).
 */
#ifndef BUSBAR_VERSION_H
#define BUSBAR_VERSION_H

/* A short commit, with "-dirty" if the tree had changes beyond it; "unknown" where neither git nor the builder said. */
extern const char busbar_commit[];

#endif
