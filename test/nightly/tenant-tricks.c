/*
 * What root of a pod can try with cgroups and mounts. Prints a line for each, and leaves a process behind for which
 * those hold that took hold.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int tell(const char *what, int result)
{
	printf("%s: %s\n", what, result == 0 ? "took hold" : strerror(errno));
	return result;
}

static int put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);
	ssize_t length = strlen(text);
	if (fd == -1)
		return -1;
	int result = write(fd, text, length) == length ? 0 : -1;
	close(fd);
	return result;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(address.sun_path, path);
	return bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1);
}

/* Where the container already sees cgroups, as hierarchies of their own or as one. */
static int make_cgroup(void)
{
	const char *own = "/sys/fs/cgroup/memory/gvisor_ready", *one = "/sys/fs/cgroup/gvisor_ready";
	return mkdir(access("/sys/fs/cgroup/memory", F_OK) == 0 ? own : one, 0755);
}

/* The hierarchy of memory where there is one of its own, else the one of all controllers. */
static int mount_cgroups(const char *folder)
{
	return mount("none", folder, "cgroup", 0, "memory") && mount("none", folder, "cgroup2", 0, NULL);
}

int main(void)
{
	tell("a mount", mount("none", "/run", "tmpfs", 0, NULL));
	tell("a cgroup", make_cgroup());
	tell("namespaces", unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP));
	tell("users there", put("/proc/self/setgroups", "deny") || put("/proc/self/uid_map", "0 0 1") ||
				    put("/proc/self/gid_map", "0 0 1"));
	tell("a mount there", mount("none", "/run", "tmpfs", 0, NULL));
	tell("a socket on it", mkdir("/run/containerd", 0755) || listen_at("/run/containerd/containerd.sock"));
	tell("its root as the programs there", mount("/", "/usr/local/bin", NULL, MS_BIND | MS_REC, NULL));
	tell("a mount of cgroups there", mount_cgroups("/mnt"));
	tell("a cgroup there", mkdir("/mnt/gvisor_ready", 0755));
	tell("a process in it", put("/mnt/gvisor_ready/cgroup.procs", "0"));
	fflush(stdout);
	if (fork() != 0)
		return 0;
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	pause();
}
