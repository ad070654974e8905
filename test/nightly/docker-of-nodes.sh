#!/bin/sh
# What kind, and the script around it, call as "docker" in kind.test.ts: each "container" is a node of a cluster of
# hack/, and what would be run in the container is run in the node. Only what such a node has already, a kubelet
# that joined, is not done again, and containerd is restarted by the test. $DOCKER_NODES/NAME.enter runs a command in
# the node NAME; NAME.made says that it was "created".
set -eu
case "$*" in
-v) echo "Docker version 28.0.0, build stand-in" ;;
"info --format {{.Architecture}}") uname -m ;;
"info --format {{json .}}") echo '{"CgroupDriver":"systemd","CgroupVersion":"2","MemoryLimit":true,"PidsLimit":true,"CPUShares":true}' ;;
"info -f {{.Driver}}") echo overlay2 ;;
info\ * | network\ inspect\ *) echo '[]' ;;
network\ * | *--type=image*) ;;
ps\ *) for made in "$DOCKER_NODES"/*.made; do [ ! -e "$made" ] || basename "$made" .made; done ;;
run\ --name\ *) : >"$DOCKER_NODES/$3.made" ;;
logs\ *) echo "Reached target Multi-User System." ;;
inspect\ *kind.role*)
  for name; do :; done # the last word
  case $name in *-control-plane) echo control-plane ;; *) echo worker ;; esac
  ;;
inspect\ *IPAddress*) echo "10.89.0.1," ;;
inspect\ *desktop.docker.io*) echo ;;
inspect\ *Ports*) printf '127.0.0.1\t%s\n' "$API_PORT" ;;
exec\ *)
  shift
  while :; do
    case $1 in
    -e) shift 2 ;;
    -*) shift ;;
    *) break ;;
    esac
  done
  name=$1
  shift
  case $1 in
  kubeadm | kubectl | bash) [ ! -p /dev/stdin ] || cat >/dev/null ;;
  *) exec "$DOCKER_NODES/$name.enter" "$@" ;;
  esac
  ;;
*)
  echo "docker of nodes: no answer to: $*" >&2
  exit 1
  ;;
esac
