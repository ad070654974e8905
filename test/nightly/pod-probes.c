// Asks the kernel for what no program of the workload image asks for. Prints one line; exits with 1 and the error if it is
// refused.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
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

static struct sockaddr_un unix_address(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  return address;
}

static int unix_socket(const char *path) {
  struct sockaddr_un address = unix_address(path);
  return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

static int tcp(const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

// A bridge, as `ip link add type bridge` makes it.
static int bridge(const char *unused) {
  struct {
    struct nlmsghdr header;
    struct ifinfomsg link;
    struct rtattr info, kind;
    char name[8];
  } request = {{sizeof request, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL}, {0},
               {RTA_LENGTH(RTA_LENGTH(8)), IFLA_LINKINFO}, {RTA_LENGTH(6), IFLA_INFO_KIND}, "bridge"};
  struct {
    struct nlmsghdr header;
    struct nlmsgerr error;
    char rest[256];
  } reply;
  int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  if (send(fd, &request, sizeof request, 0) < 0 || recv(fd, &reply, sizeof reply, 0) < 0) return -1;
  errno = -reply.error.error;
  return reply.error.error;
}

static int bpf(const char *unused) {
  union bpf_attr map = {.map_type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 4, .max_entries = 1};
  return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map);
}

static int perf(const char *unused) {
  struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_CPU_CLOCK};
  return syscall(SYS_perf_event_open, &event, -1, 0, -1, 0);
}

// Linux looks at the bytes of a module only after it has allowed the caller to load one.
static int module(const char *unused) {
  char bytes[64] = "no module";
  return syscall(SYS_init_module, bytes, sizeof bytes, "") < 0 && errno == ENOEXEC ? 0 : -1;
}

// Sets the clock's tick to what it is.
static int clock_tick(const char *unused) {
  struct timex clock = {0};
  if (adjtimex(&clock) < 0) return -1;
  clock.modes = ADJ_TICK;
  return adjtimex(&clock);
}

static int open_device(const char *path) { return open(path, O_RDONLY | O_NONBLOCK); }

static int kvm(const char *path) { return ioctl(open(path, O_RDWR), KVM_GET_API_VERSION, 0); }

static int effective_root(const char *unused) {
  errno = EPERM;
  return geteuid() == 0 ? 0 : -1;
}

// For ever, in a directory: a socket and a pipe that somebody listens to, a lock that is held, and a file that grows.
static int share(const char *directory) {
  if (chdir(directory) < 0) return -1;
  struct sockaddr_un address = unix_address("socket");
  int server = socket(AF_UNIX, SOCK_STREAM, 0);
  if (bind(server, (struct sockaddr *)&address, sizeof address) < 0 || listen(server, 8) < 0) return -1;
  if (mkfifo("pipe", 0600) < 0 || open("pipe", O_RDWR) < 0) return -1;
  if (flock(open("lock", O_CREAT | O_RDWR, 0600), LOCK_EX) < 0) return -1;
  int growing = open("growing", O_CREAT | O_WRONLY | O_APPEND, 0600);
  for (; write(growing, ".", 1) == 1; usleep(20 * 1000));
  return -1;
}

static off_t size_of(const char *path) {
  struct stat file = {0};
  return stat(path, &file) < 0 ? 0 : file.st_size;
}

// What of it another container sees. It asks after two more bytes, of which inotify tells as well.
static int shared(const char *directory) {
  if (chdir(directory) < 0) return -1;
  while (size_of("growing") == 0) usleep(20 * 1000);
  struct pollfd watch = {inotify_init(), POLLIN, 0};
  if (inotify_add_watch(watch.fd, "growing", IN_MODIFY) < 0) return -1;
  for (off_t size = size_of("growing"); size_of("growing") < size + 2;) usleep(20 * 1000);
  printf("bytes");
  if (unix_socket("socket") >= 0) printf(" socket");
  if (open("pipe", O_WRONLY | O_NONBLOCK) >= 0) printf(" pipe");
  if (flock(open("lock", O_RDWR), LOCK_EX | LOCK_NB) < 0) printf(" lock");
  if (poll(&watch, 1, 0) > 0) printf(" inotify");
  printf(" ");
  return 0;
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
  } probes[] = {
      {"bpf", bpf},
      {"bridge", bridge},
      {"clock", clock_tick},
      {"device", open_device},
      {"effective-root", effective_root},
      {"io-uring", io_uring},
      {"kvm", kvm},
      {"module", module},
      {"nat-table", nat_table},
      {"overlay", overlay},
      {"perf", perf},
      {"raw-socket", raw_socket},
      {"serve", serve},
      {"share", share},
      {"shared", shared},
      {"tcp", tcp},
      {"trace", trace},
      {"unix-socket", unix_socket},
  };
  for (unsigned at = 0; at < sizeof probes / sizeof *probes; at++) {
    if (count < 2 || strcmp(words[1], probes[at].name) != 0) continue;
    if (probes[at].ask(count > 2 ? words[2] : "") >= 0) return puts("granted") < 0;
    return printf("%s\n", strerror(errno)), 1;
  }
  return fprintf(stderr, "no such probe\n"), 2;
}
