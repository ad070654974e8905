#!/bin/sh
# The first process of one simulated machine: called in new mount, PID, network, UTS and IPC
# namespaces, it gives the machine a root file system of its own (an overlay: the host's files below,
# everything written in <dir>/upper), says that it is ready, and reaps what loses its parent.
# usage: machine-init.sh <dir> <hostname> [<path of the host to show read-only> ...]
set -eu
dir=$1 name=$2
shift 2
root=$dir/root
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount --make-rprivate /
mkdir -p "$dir/upper" "$dir/work" "$root" "$dir/containerd" "$dir/kubelet"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
if [ ! -e "$dir/furnished" ]; then
  # A node starts without what the host may have of its own.
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
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
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
: >/run/machine-ready

trap : TERM INT
while :; do
  sleep infinity &
  wait $! || :
done
