import { createHash, hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { moduleDirectory, source, toolVersion } from '../../cluster/tools/tool-groups.ts';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { CACHE } from '../../hack/paths.ts';
import { progress } from '../../hack/progress.ts';
import { run } from '../../hack/run.ts';
import { makeOnce } from '../../hack/unfinished.ts';

/** kind has trixie, whose systemd refuses cgroup v1. */
const SUITE = 'bookworm';
/** Those of kind's image that a test needs. */
const NODE_PACKAGES = ['systemd-sysv', 'iproute2', 'iptables', 'jq', 'libseccomp2', 'procps'];
/** kube-proxy runs iptables. */
const POD_PACKAGES = ['coreutils', 'dash', 'iptables'];

/**
 * Loads the pods' image. A bridge on each node, whose pods have the node's address outside, stands for kindnet. On cgroup
 * v1 kind's entrypoint mounts parts of each hierarchy a second time, which runsc cannot read.
 */
const BEFORE_KUBELET = `#!/bin/sh
set -eu
config=/etc/cni/net.d/bridge.conflist
[ ! -e $config ] || exit 0
for mounted in /sys/fs/cgroup/*/kubelet /sys/fs/cgroup/*/kubelet.slice; do
  if mountpoint -q "$mounted"; then umount "$mounted"; fi
done
ctr --namespace k8s.io images import /kind/pods.tar
address=$(hostname --ip-address | grep -o '10[.][0-9.]*' | head -n 1)
cat >$config <<END
{ "cniVersion": "1.0.0", "name": "bridge", "plugins": [{ "type": "bridge", "isGateway": true, "ipMasq": true, "ipam":
  { "type": "host-local", "subnet": "10.244.\${address##*.}.0/24", "routes": [{ "dst": "0.0.0.0/0" }] } }] }
END
`;

/** Files of the node beside kind's. */
const FILES = {
  'kind/before-kubelet': BEFORE_KUBELET,
  'kind/kubelet.conf.d/10.conf':
    '{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","failCgroupV1":false}',
  'kind/manifests/default-cni.yaml':
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bridge","namespace":"kube-system"}}',
  'etc/systemd/system/kubelet.service.d/20-test.conf':
    '[Service]\nTimeoutStartSec=10min\nExecStartPre=/kind/before-kubelet\n',
};

/** Does what the Dockerfile of kind's image does. On hosts without CAP_SYS_RESOURCE no OOM score can be lowered. */
const FURNISH_NODE = `
set -eu
cp -r "$KIND/images/base/files/." "$FILES/." "$1"
cd "$1"
mkdir -p opt/cni/bin etc/cni/net.d etc/kubernetes/manifests
cp "$CONTAINERD"/* usr/local/bin
cp "$RUNC/runc" usr/local/sbin
cp "$CNI"/* opt/cni/bin
cp "$KUBEADM/kubeadm" "$KUBERNETES/kubectl" "$KUBERNETES/kubelet" usr/bin
chmod 755 usr/local/bin/entrypoint kind/bin/* kind/before-kubelet
rm -f etc/systemd/system/*.wants/* lib/systemd/system/multi-user.target.wants/*
rm -f lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
chroot . systemctl enable kubelet containerd undo-mount-hacks
chroot . systemctl mask systemd-binfmt
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' etc/containerd/config.toml
[ -e /sys/fs/cgroup/cgroup.controllers ] ||
  sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' etc/containerd/config.toml
sed -i 's#^KUBELET_EXTRA_ARGS=.*#& --config-dir=/kind/kubelet.conf.d#' etc/default/kubelet
hook='.hooks.createContainer += [{ path: "/kind/bin/mount-product-files.sh" }] | del(.process.rlimits)'
chroot . ctr oci spec | chroot . jq "$hook" >etc/containerd/cri-base.json`;

const FURNISH_PODS = `
set -eu
mkdir -p "$1/usr/local/bin"
cp "$KUBERNETES"/kube-* "$KUBEADM/kube-proxy" "$ETCD/etcd" "$1/usr/local/bin"
for command in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  ln -s xtables-nft-multi "$1/usr/sbin/$command"
done`;

/** It pauses, unless a container has another command. */
const PODS_ENTRYPOINT = ['/bin/dash', '-c', 'exec sleep infinity'];

/** Archives, as `podman import` and `ctr images import` take them. */
type KindImage = { readonly node: string; readonly pods: string };

/** kind's node image, made of packages of Debian, files of kind's sources and programs that are built here. */
export async function ensureKindImage(): Promise<KindImage> {
  const tools = await ensureTools(['kubernetes', 'etcd', 'kubeadm', 'containerd', 'runc', 'cni']);
  const kind = await moduleDirectory('sigs.k8s.io/kind', source('kind'));
  const packages = [SUITE, NODE_PACKAGES, POD_PACKAGES];
  const parts = [kind, tools, packages, FILES, FURNISH_NODE, FURNISH_PODS, PODS_ENTRYPOINT];
  const directory = join(CACHE, 'kind', hash('sha256', JSON.stringify(parts)).slice(0, 12));
  const variables = Object.entries({ ...tools, kind }).map(([name, path]) => [name.toUpperCase(), path]);
  const what = 'building a node image for kind (kept for next time)';
  await makeOnce(directory, (work) =>
    progress(what, async () => {
      const names = await podImages(tools.kubeadm, kind);
      return build(work, names, Object.fromEntries(variables));
    }),
  );
  return { node: join(directory, 'node.tar'), pods: join(directory, 'pods.tar') };
}

/** The names that kubeadm and containerd give the images of kind's own pods. */
async function podImages(kubeadm: string, kind: string): Promise<string[]> {
  const version = await toolVersion('kubernetes');
  const words = `config images list --kubernetes-version ${version}`.split(' ');
  const list = await run(join(kubeadm, 'kubeadm'), words);
  const config = await readFile(join(kind, 'images/base/files/etc/containerd/config.toml'), 'utf8');
  const pause = /sandbox_image = "(.*)"/.exec(config)?.[1];
  if (pause === undefined) throw new Error("kind's configuration of containerd names no sandbox image");
  return [...list.trim().split('\n'), pause];
}

/** Returns the directory with the archives. */
async function build(work: string, names: readonly string[], variables: NodeJS.ProcessEnv): Promise<string> {
  const made = join(work, 'made');
  await mkdir(made, { recursive: true });
  for (const [path, content] of Object.entries({
    ...FILES,
    'kind/version': await toolVersion('kubernetes'),
  })) {
    await mkdir(dirname(join(work, 'files', path)), { recursive: true });
    await writeFile(join(work, 'files', path), content);
  }
  const env = { ...process.env, ...variables, FILES: join(work, 'files'), TMPDIR: work };
  const debian = (variant: string, packages: readonly string[], hook: string, archive: string) => {
    const what = [`--variant=${variant}`, '--mode=root', `--include=${packages.join(',')}`, hook];
    const without = ['doc', 'locale', 'man'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
    const merged = '--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr';
    const options = { env, timeoutMs: 20 * 60_000, killOnExit: true };
    return run('mmdebstrap', [...what, ...without, merged, SUITE, archive], options);
  };
  await debian('minbase', NODE_PACKAGES, `--customize-hook=${FURNISH_NODE}`, join(made, 'node.tar'));
  await debian('extract', POD_PACKAGES, `--extract-hook=${FURNISH_PODS}`, join(work, 'layer.tar'));
  await packPods(work, names, join(made, 'pods.tar'));
  return made;
}

/** One image with all names, in the format of `docker save`. */
async function packPods(work: string, names: readonly string[], archive: string): Promise<void> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(join(work, 'layer.tar')), digest);
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const rootfs = { type: 'layers', diff_ids: [`sha256:${digest.digest('hex')}`] };
  const files = {
    'config.json': { os: 'linux', architecture, config: { Entrypoint: PODS_ENTRYPOINT }, rootfs },
    'manifest.json': [{ Config: 'config.json', RepoTags: names, Layers: ['layer.tar'] }],
  };
  for (const [name, content] of Object.entries(files))
    await writeFile(join(work, name), JSON.stringify(content));
  const options = { cwd: work, timeoutMs: 300_000 };
  await run('tar', ['-cf', archive, ...Object.keys(files), 'layer.tar'], options);
}
