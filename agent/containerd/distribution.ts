import timers from 'node:timers/promises';
import { TimeoutError } from '../async.ts';
import type { Host } from '../host/host.ts';
import { readProcess } from '../host/process.ts';
import type { CriClient } from './client.ts';

/** Where the path of containerd's configuration is learned; `named` is what the settings say. */
export type ConfigPathSources = {
  readonly host: Host;
  readonly client: Pick<CriClient, 'serverPid'>;
  readonly distribution: Distribution;
  readonly named: string | undefined;
};

/** The flag that names the file in arguments with a zero byte between them: "-c x", "-c=x", "--config x", "--config=x". */
const CONFIG_FLAG = /\0(?:-c|--config)[=\0]([^\0]*)/;

/**
 * A function that gives the root configuration file that the node's containerd reads: the one that the settings name,
 * else the one on its command line (Flatcar and k3s name one there), else the distribution's. containerd is asked until
 * it has told once. A restart with another command line is seen by the next agent.
 */
export function rememberConfigPath(sources: ConfigPathSources): () => Promise<string> {
  let known = sources.named;
  return async () => {
    if (known !== undefined) return known;
    const argv = await readArguments(sources).catch(() => undefined);
    if (argv === undefined) return sources.distribution.containerdConfig;
    const [, flag] = CONFIG_FLAG.exec(argv.join('\0')) ?? [];
    known = flag?.startsWith('/') ? flag : sources.distribution.containerdConfig;
    return known;
  };
}

/**
 * containerd's own arguments. It tells its PID itself, and the process counts only if it has that very PID in this /proc
 * and lies in no nested PID namespace, as those of pods do.
 * Source: https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/command/main.go (flags)
 */
async function readArguments({ host, client }: ConfigPathSources): Promise<readonly string[] | undefined> {
  const pid = await client.serverPid();
  const seen = pid > 0 ? await readProcess(host, pid) : undefined;
  return seen?.namespacedPids.join() === String(pid) ? seen.argv : undefined;
}

/** How a Kubernetes distribution lays out its containerd: paths of the host, and words for people. */
export type Distribution = {
  readonly name: string;
  /** containerd's root configuration file. */
  readonly containerdConfig: string;
  /** The CRI socket. */
  readonly criSocket: string;
  /** Where a person adds a handler; the rendered file itself is overwritten by some distributions. */
  readonly edit: string;
};

/**
 * A layout; where it names no paths, those of containerd itself hold. One mark that holds is enough: a path that is there,
 * or an ID of /etc/os-release, which has no slash.
 */
type Rule = Omit<Distribution, keyof typeof PLAIN> &
  Partial<typeof PLAIN> & { readonly marks: readonly string[] };

/** Source: https://github.com/containerd/containerd/blob/v2.4.2/defaults/defaults_unix.go */
const PLAIN = {
  containerdConfig: '/etc/containerd/config.toml' as string,
  criSocket: '/run/containerd/containerd.sock' as string,
};

/** Every known layout, the more particular first. */
const RULES: readonly Rule[] = [
  {
    // https://github.com/rancher/rke2/blob/master/pkg/executor/staticpod/spw.go
    name: 'RKE2',
    marks: ['/var/lib/rancher/rke2/agent/etc/containerd/config.toml'],
    containerdConfig: '/var/lib/rancher/rke2/agent/etc/containerd/config.toml',
    criSocket: '/run/k3s/containerd/containerd.sock',
    edit: 'config-v3.toml.tmpl, or a drop-in in config-v3.toml.d (config.toml.tmpl and config.toml.d for containerd 1.x), in /var/lib/rancher/rke2/agent/etc/containerd; then restart RKE2',
  },
  {
    // The socket is RKE2's too, and visible where neither's folders are mounted.
    // https://github.com/k3s-io/k3s/blob/master/pkg/agent/containerd/config.go
    name: 'k3s',
    marks: ['/var/lib/rancher/k3s/agent/etc/containerd/config.toml', '/run/k3s/containerd/containerd.sock'],
    containerdConfig: '/var/lib/rancher/k3s/agent/etc/containerd/config.toml',
    criSocket: '/run/k3s/containerd/containerd.sock',
    edit: 'config-v3.toml.tmpl, or a drop-in in config-v3.toml.d (config.toml.tmpl and config.toml.d for containerd 1.x), in /var/lib/rancher/k3s/agent/etc/containerd; then restart k3s',
  },
  {
    // https://docs.k0sproject.io/stable/runtime/
    name: 'k0s',
    marks: ['/etc/k0s/containerd.toml', '/run/k0s/containerd.sock'],
    containerdConfig: '/etc/k0s/containerd.toml',
    criSocket: '/run/k0s/containerd.sock',
    edit: 'a drop-in in /etc/k0s/containerd.d; k0s restarts containerd by itself',
  },
  {
    // https://github.com/canonical/microk8s/blob/master/microk8s-resources/wrappers/run-containerd-with-args
    name: 'MicroK8s',
    marks: ['/var/snap/microk8s/current/args/containerd.toml'],
    containerdConfig: '/var/snap/microk8s/current/args/containerd.toml',
    criSocket: '/var/snap/microk8s/common/run/containerd.sock',
    edit: '/var/snap/microk8s/current/args/containerd-template.toml; then restart MicroK8s',
  },
  {
    // https://github.com/siderolabs/talos/blob/main/pkg/machinery/constants/constants.go
    name: 'Talos',
    marks: ['talos', '/etc/cri/containerd.toml'],
    containerdConfig: '/etc/cri/containerd.toml',
    edit: 'the gvisor system extension, which adds /etc/cri/conf.d/10-gvisor.part; then upgrade the node',
  },
  {
    // https://github.com/bottlerocket-os/bottlerocket-core-kit/tree/develop/packages/containerd
    name: 'Bottlerocket',
    marks: ['bottlerocket'],
    edit: 'the settings of the Bottlerocket variant, which renders /etc/containerd/config.toml',
  },
  {
    // https://gvisor.dev/docs/user_guide/containerd/crio/
    name: 'CRI-O',
    marks: ['/run/crio/crio.sock', '/etc/crio/crio.conf', '/etc/crio/crio.conf.d'],
    criSocket: '/run/crio/crio.sock',
    edit: 'a drop-in in /etc/crio/crio.conf.d',
  },
  {
    // https://github.com/kubernetes-sigs/kind/blob/main/images/base/files/etc/containerd/config.toml
    name: 'kind',
    marks: ['/kind/version'],
    edit: 'containerdConfigPatches of the kind cluster; then recreate the node',
  },
  {
    // https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/containerd/config.go
    name: 'EKS',
    marks: ['/etc/eks', '/usr/bin/nodeadm'],
    edit: 'spec.containerd.config of the NodeConfig that nodeadm reads; then replace the node',
  },
  {
    // https://github.com/Azure/AgentBaker/blob/master/parts/linux/cloud-init/artifacts/cse_config.sh
    name: 'AKS',
    marks: ['/opt/azure/containers', '/etc/kubernetes/azure.json'],
    edit: '/etc/containerd/config.toml, from a DaemonSet that does it on every new node; then restart containerd',
  },
  {
    // https://cloud.google.com/kubernetes-engine/docs/concepts/sandbox-pods
    name: 'GKE',
    marks: ['cos', '/home/kubernetes/kube-env'],
    edit: 'nothing by hand: create the node pool with GKE Sandbox',
  },
];

/** How often, and how many milliseconds apart, a disk is asked again that does not answer: a node that boots is busy. */
const LATE_TRIES = 12;
const LATE_PAUSE_MS = 5_000;

/**
 * Tells by its files which distribution a node runs; a plain containerd when none is recognised. The socket follows from
 * it for as long as the agent runs, so what is late is asked for again, and rejects after a minute. What cannot be seen is
 * taken for absent; a socket that is not the kubelet's is found out by the proof, which looks for the agent's own pod.
 */
export async function readDistribution(host: Host, pauseMs = LATE_PAUSE_MS): Promise<Distribution> {
  let tries = LATE_TRIES;
  const ask = async <T>(question: () => Promise<T>): Promise<T | undefined> => {
    for (;;) {
      try {
        return await question();
      } catch (error) {
        if (!(error instanceof TimeoutError)) return undefined;
        if (tries-- <= 0) throw error;
        await timers.setTimeout(pauseMs);
      }
    }
  };
  const isThere = async (path: string) => (await ask(() => host.stat(path))) !== undefined;
  const os = osId((await ask(() => host.readText('/etc/os-release'))) ?? '');
  for (const { marks, ...distribution } of RULES) {
    const held = await Promise.all(marks.map((mark) => (mark.startsWith('/') ? isThere(mark) : mark === os)));
    if (!held.includes(true)) continue;
    // A CRI-O package may lie beside the containerd that the node really uses.
    if (distribution.name === 'CRI-O' && (await isThere(PLAIN.criSocket))) continue;
    return { ...PLAIN, ...distribution };
  }
  const edit = '/etc/containerd/config.toml or a file that it imports; then restart containerd';
  return { ...PLAIN, name: 'containerd', edit };
}

/** The ID of an os-release text, "" when it has none: https://www.freedesktop.org/software/systemd/man/os-release.html */
export function osId(text: string): string {
  return /^ID=["']?([^"'\n]*)["']?\s*$/m.exec(text)?.[1] ?? '';
}
