#!/bin/sh
# The first process of a machine, in new mount, PID, network, UTS, IPC and cgroup namespaces. It mounts an overlay of the
# host's root, whose writes go to <dir>/upper, makes its cgroup the root of cgroups, and reaps orphans.
# usage: machine-init.sh <dir> <hostname> <cgroup> [<path of the host, mounted read-only> ...]
set -eu
dir=$1 name=$2 cgroup=$3
shift 3
root=$dir/root
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount --make-rprivate /
mkdir -p "$dir/upper" "$dir/work" "$root" "$dir/containerd" "$dir/kubelet"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
if [ ! -e "$dir/furnished" ]; then
  # Hides the host's own containerd, Kubernetes and programs.
  for path in etc/containerd etc/cni etc/kubernetes opt/cni var/lib/cni var/lib/containerd \
    var/lib/kubelet var/lib/rancher var/lib/k0s var/log/pods var/log/containers usr/local/bin; do
    rm -rf "${root:?}/$path"
    mkdir -p "$root/$path"
  done
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  : >"$dir/furnished"
fi
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount --bind "/sys/fs/cgroup$cgroup" "$root/sys/fs/cgroup"
else
  mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
  for hierarchy in /sys/fs/cgroup/*; do
    inside=$root$hierarchy
    if [ -L "$hierarchy" ]; then
      cp -P "$hierarchy" "$inside"
    elif [ -d "$hierarchy$cgroup" ]; then
      mkdir "$inside"
      mount --bind "$hierarchy$cgroup" "$inside"
    fi
  done
fi
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$dir/containerd" "$root/var/lib/containerd"
mount --bind "$dir/kubelet" "$root/var/lib/kubelet"
for path; do
  mkdir -p "$root$path"
  mount --bind "$path" "$root$path"
  mount -o remount,bind,ro "$root$path"
done

mkdir -p "$root/run/host"
cd "$root"
pivot_root . run/host
cd /
umount -l /run/host
rmdir /run/host
mount --make-rshared /
hostname "$name"
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
mkdir -p /run/daemons
# Daemons run in a child cgroup: in cgroup v2 a cgroup has either processes or controllers for children.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  set -- /sys/fs/cgroup
else
  set -- /sys/fs/cgroup/*/
fi
for top; do
  daemons=${top%/}/daemons
  mkdir -p "$daemons"
  for file in cpuset.cpus cpuset.mems; do
    if [ -e "${top%/}/cgroup.clone_children" ] && [ -e "$daemons/$file" ]; then
      cat "${top%/}/$file" >"$daemons/$file"
    fi
  done
  echo $$ >"$daemons/cgroup.procs"
  echo "echo 0 >$daemons/cgroup.procs"
done >/run/join-cgroup
: >/run/machine-ready

trap : TERM INT
while :; do
  sleep infinity &
  wait $! || :
done
