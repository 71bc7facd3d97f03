/* disk.c - see disk.h. */
#include "store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mount.h"
#include "store/format.h"
#include "store/store.h"

#define LOCK_RETRY_MS 50
#define FREE_BYTES_LEAST (1u << 20) /* a failed write with less than this free was for want of room */

int store_lock_wait_ms = 5000;

#define FUSE_MAGIC 0x65735546

/* Behind FUSE there may be anything: the kernel's list of mounts says what. */
static bool is_remote_fuse(const char *path)
{
	struct stat st;
	char type[64] = "fuse";
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	bool found = mounts != NULL && stat(path, &st) == 0 && mount_type(mounts, st.st_dev, type, sizeof type);
	if (mounts != NULL)
		fclose(mounts);
	if (found && mount_is_remote_fuse(type))
		return true;
	log_warning("The storage directory is on a FUSE filesystem (%s): the store is as safe as its mmap() and fsync() are", type);
	return false;
}

bool disk_is_network(const char *path)
{
	/* f_type values of linux/magic.h: NFS, SMB, CIFS, SMB2, AFS, CEPH, NCP, CODA. */
	static const unsigned long types[] = {0x6969, 0x517B, 0xFF534D42, 0xFE534D42, 0x5346414F, 0x00C36400, 0x564C, 0x73757245};
	struct statfs fs;
	if (statfs(path, &fs) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (((unsigned long)fs.f_type & 0xFFFFFFFF) == types[i])
			return true;
	return ((unsigned long)fs.f_type & 0xFFFFFFFF) == FUSE_MAGIC && is_remote_fuse(path);
}

int disk_make_dirs(const char *path, struct err *e)
{
	char part[STORE_PATH_MAX];
	size_t len = strlen(path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0777) != 0 && errno != EEXIST)
			return err_errno(e, errno, "cannot create the storage directory %s (make it writable, or set ELECTRIC_STORAGE_DIR to another)",
			                 part);
	}
	return 0;
}

int disk_lock(const char *path, const char *dir, int *fd, struct err *e)
{
	char file[STORE_PATH_MAX + 16];
	snprintf(file, sizeof file, "%s/lock", path);
	*fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (*fd < 0)
		return err_errno(e, errno, "cannot open %s (make the storage directory writable, or set ELECTRIC_STORAGE_DIR to another)", file);
	/* A process that is just exiting (a rolling restart, a replaced container) gets time to finish. */
	int64_t until = clock_mono_ms() + store_lock_wait_ms;
	bool said = false;
	while (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK || clock_mono_ms() >= until)
			goto failed;
		if (!said)
			log_notice("The storage directory %s is in use by another Busbar process, which may be ending: waiting up to %d s", dir,
			           store_lock_wait_ms / 1000);
		said = true;
		(void)poll(NULL, 0, LOCK_RETRY_MS);
	}
	return 0;
failed:
	if (errno == EWOULDBLOCK)
		return err_set(e, ERR_CONFIG, "the storage directory %s is in use by another Busbar process; stop it, or give this one "
		               "another ELECTRIC_STORAGE_DIR", dir);
	return err_errno(e, errno, "cannot lock %s", file);
}

void disk_sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

int disk_remove_copy(const char *path, struct err *e)
{
	char file[STORE_PATH_MAX + 32];
	snprintf(file, sizeof file, "%s/" STORE_DIR_COMPACT "/" STORE_FILE, path);
	if (unlink(file) != 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove %s", file);
	snprintf(file, sizeof file, "%s/" STORE_DIR_COMPACT, path);
	return rmdir(file) == 0 || errno == ENOENT ? 0 : err_errno(e, errno, "cannot remove the directory %s", file);
}

bool disk_free_bytes(const char *path, uint64_t *bytes)
{
	struct statfs fs;
	if (statfs(path, &fs) != 0)
		return false;
	*bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	return true;
}

bool disk_is_full(const char *path)
{
	uint64_t bytes;
	return disk_free_bytes(path, &bytes) && bytes < FREE_BYTES_LEAST;
}
