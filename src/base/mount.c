/* mount.c - see mount.h. A line: "36 35 98:0 /root /where options shared:1 … - type source options". */
#include "base/mount.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/require.h"

bool mount_type(FILE *mountinfo, dev_t device, char *type, size_t max)
{
	char *line = NULL;
	size_t size = 0;
	bool found = false;
	while (getline(&line, &size, mountinfo) >= 0) {
		unsigned major_number, minor_number;
		const char *at = strstr(line, " - ");
		if (at == NULL || sscanf(line, "%*u %*u %u:%u", &major_number, &minor_number) != 2 ||
		    makedev(major_number, minor_number) != device)
			continue;
		snprintf(type, max, "%.*s", (int)strcspn(at + 3, " \n"), at + 3);
		found = true;
	}
	free(line);
	return found;
}

bool mount_is_remote_fuse(const char *type)
{
	static const char *const remote[] = {
		"fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.glusterfs", "fuse.ceph-fuse", "fuse.mount-s3", "fuse.goofys",
		"fuse.juicefs", "fuse.davfs", "fuse.curlftpfs", "fuse.blobfuse2", "fuse.blobfuse", "fuse.moosefs", "fuse.seaweedfs",
	};
	for (size_t i = 0; i < ARRAY_LEN(remote); i++)
		if (strcmp(type, remote[i]) == 0)
			return true;
	return false;
}
