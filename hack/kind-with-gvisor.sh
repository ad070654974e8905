#!/bin/sh
# Creates a kind cluster whose nodes can run gVisor pods: `hack/kind-with-gvisor.sh --help`.
set -eu

RELEASE=20260831.0
MIRROR=https://storage.googleapis.com/gvisor/releases/release
NAME=gvisor
IMAGE=
HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

usage() {
  cat <<TEXT
Creates a kind cluster whose nodes have runsc, its containerd shim and gvisor-bin, checked against the
published SHA-512, and the containerd handler "runsc". Needs kind, curl, tar, bzip2, and docker or podman.

usage: hack/kind-with-gvisor.sh [--name NAME] [--release RELEASE] [--image IMAGE] [--mirror URL]
  --name     the cluster's name                                  ($NAME)
  --release  the gVisor release, such as 20260831.0              ($RELEASE)
  --image    kind's node image                                   (kind's own)
  --mirror   where RELEASE/ARCH/gvisor.tar.bz2 and its .sha512 lie
             ($MIRROR)
Remove it with: kind delete cluster --name NAME
TEXT
}

fail() {
  echo "kind-with-gvisor: $1" >&2
  exit "${2:-1}"
}

while [ $# -gt 0 ]; do
  case $1 in
  -h | --help)
    usage
    exit 0
    ;;
  --name | --release | --image | --mirror)
    if [ $# -lt 2 ] || [ -z "$2" ]; then fail "$1 needs a value; see --help" 2; fi
    case $1 in
    --name) NAME=$2 ;;
    --release) RELEASE=${2#release-} ;;
    --image) IMAGE=$2 ;;
    --mirror) MIRROR=${2%/} ;;
    esac
    shift 2
    ;;
  *) fail "unknown word \"$1\"; see --help" 2 ;;
  esac
done

for program in kind curl tar bzip2; do
  command -v "$program" >/dev/null || fail "$program is missing: install it and run this again" 2
done

# What kind itself will use; its nodes are containers there, so the architecture is theirs.
if command -v docker >/dev/null && [ "${KIND_EXPERIMENTAL_PROVIDER:-docker}" = docker ]; then
  ENGINE=docker
elif command -v podman >/dev/null; then
  ENGINE=podman
  export KIND_EXPERIMENTAL_PROVIDER=podman
else
  fail "neither docker nor podman is there: install one (macOS: docs/macos.md)" 2
fi
if [ "$ENGINE" = docker ]; then format='{{.Architecture}}'; else format='{{.Host.Arch}}'; fi
machine=$("$ENGINE" info --format "$format" 2>/dev/null) || machine=
case $machine in
"") fail "$ENGINE does not answer: start its daemon or machine, then see \"$ENGINE info\"" 2 ;;
x86_64 | amd64) ARCH=x86_64 ;;
aarch64 | arm64) ARCH=aarch64 ;;
*) fail "gVisor has no release for $machine, only for x86_64 and arm64" 2 ;;
esac

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM

echo "Downloading gVisor $RELEASE for $ARCH"
for file in gvisor.tar.bz2 gvisor.tar.bz2.sha512; do
  url=$MIRROR/$RELEASE/$ARCH/$file
  curl --fail --silent --show-error --location --output "$WORK/$file" "$url" ||
    fail "cannot download $url: is there such a release? See https://github.com/google/gvisor/releases"
done
# The published line is "<sum>  gvisor.tar.bz2"; macOS has shasum instead of sha512sum.
if command -v sha512sum >/dev/null; then
  check='sha512sum --check'
else
  check='shasum --algorithm 512 --check'
fi
(cd "$WORK" && $check gvisor.tar.bz2.sha512) ||
  fail "gvisor.tar.bz2 does not have the published SHA-512: nothing was created"
mkdir "$WORK/gvisor"
tar -xjf "$WORK/gvisor.tar.bz2" -C "$WORK/gvisor"
for file in runsc containerd-shim-runsc-v1 gvisor-bin; do
  [ -e "$WORK/gvisor/$file" ] || fail "the release has no $file: this script knows releases since 20260810.0"
done
chmod -R a+rX "$WORK/gvisor"

kind create cluster --name "$NAME" --config "$HERE/kind-with-gvisor.yaml" ${IMAGE:+--image "$IMAGE"}

# The programs come through standard input. Links in PATH, because the cluster file has no room for a release.
# shellcheck disable=SC2016 # the node's shell expands this
INSTALL='
  folder=/usr/local/lib/gvisor/$1
  mkdir -p "$folder"
  tar -xf - --no-same-owner -C "$folder"
  if grep -q "SystemdCgroup = true" /etc/containerd/config.toml; then systemd=true; else systemd=false; fi
  printf "[runsc_config]\n  platform = \"systrap\"\n  systemd-cgroup = \"%s\"\n" $systemd >/etc/containerd/runsc.toml
  for program in runsc containerd-shim-runsc-v1; do
    ln -sfn "../lib/gvisor/$1/$program" "/usr/local/bin/$program"
  done
  runsc --version
'
nodes=$(kind get nodes --name "$NAME")
[ -n "$nodes" ] || fail "kind made no nodes"
for node in $nodes; do
  echo "Installing gVisor on $node"
  tar -cf - -C "$WORK/gvisor" . |
    "$ENGINE" exec --interactive "$node" sh -euc "$INSTALL" sh "$RELEASE" ||
    fail "cannot install gVisor on $node; the cluster is left as it is (kind delete cluster --name $NAME)"
done

cat <<TEXT
The cluster "$NAME" has gVisor on every node. Next, with the agent's image built (see the README):
  kind load docker-image --name $NAME localhost/gvisor-ready:0.1.0
  kubectl --context kind-$NAME apply -k manifests/base
  kubectl --context kind-$NAME get nodes -L gvisor.node-restriction.kubernetes.io/ready
TEXT
