// Asks the kernel for what no program of the workload image asks for. Prints one line; exits with 1 and the error if it is
// refused.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define GET_NAT_TABLE 64 // IPT_SO_GET_INFO of linux/netfilter_ipv4/ip_tables.h

static int raw_socket(const char *unused) { return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }

static int nat_table(const char *unused) {
  char info[84] = "nat";
  socklen_t size = sizeof info;
  int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  return fd < 0 ? fd : getsockopt(fd, IPPROTO_IP, GET_NAT_TABLE, info, &size);
}

static int io_uring(const char *unused) {
  struct io_uring_params params = {0};
  return syscall(SYS_io_uring_setup, 1, &params);
}

static int trace(const char *unused) {
  pid_t child = fork();
  if (child == 0) return pause();
  int status;
  if (ptrace(PTRACE_ATTACH, child, 0, 0) < 0 || waitpid(child, &status, 0) < 0) return -1;
  return ptrace(PTRACE_KILL, child, 0, 0);
}

// What a builder of images needs for the root of a nested container.
static int overlay(const char *unused) {
  if (unshare(CLONE_NEWNS) < 0 || mount("tmpfs", "/tmp", "tmpfs", 0, 0) < 0 || chdir("/tmp") < 0) return -1;
  if (mkdir("low", 0755) < 0 || mkdir("up", 0755) < 0 || mkdir("work", 0755) < 0 || mkdir("all", 0755) < 0) return -1;
  return mount("overlay", "all", "overlay", 0, "lowerdir=/tmp/low,upperdir=/tmp/up,workdir=/tmp/work");
}

static int unix_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

// Answers every connection to port 8080 with "hello", for ever.
static int serve(const char *unused) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
  int server = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(server, (struct sockaddr *)&address, sizeof address) < 0 || listen(server, 8) < 0) return -1;
  for (;;) {
    int client = accept(server, 0, 0);
    if (write(client, "hello\n", 6) < 0) return -1;
    close(client);
  }
}

int main(int count, char **words) {
  static const struct {
    const char *name;
    int (*ask)(const char *);
  } probes[] = {{"raw-socket", raw_socket}, {"nat-table", nat_table},     {"io-uring", io_uring},
                {"trace", trace},           {"unix-socket", unix_socket}, {"serve", serve},
                {"overlay", overlay}};
  for (unsigned at = 0; at < sizeof probes / sizeof *probes; at++) {
    if (count < 2 || strcmp(words[1], probes[at].name) != 0) continue;
    if (probes[at].ask(count > 2 ? words[2] : "") >= 0) return puts("granted") < 0;
    return printf("%s\n", strerror(errno)), 1;
  }
  return fprintf(stderr, "no such probe\n"), 2;
}
