/*
 * mount.h - what kind of filesystem a device number is, by the kernel's list of mounts. Any thread.
 */
#ifndef BUSBAR_BASE_MOUNT_H
#define BUSBAR_BASE_MOUNT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* The type ("ext4", "fuse.sshfs") of the last mount of that device in a file of the form of /proc/self/mountinfo; false
 * if there is none. */
bool mount_type(FILE *mountinfo, dev_t device, char *type, size_t max);

/* True for the types of FUSE that reach over a network. */
bool mount_is_remote_fuse(const char *type);

#endif
