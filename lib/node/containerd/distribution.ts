import timers from 'node:timers/promises';
import { TimeoutError } from '../../base/async.ts';
import type { Host } from '../host/host.ts';
import { readProcess } from '../host/process.ts';
import type { CriClient } from './client.ts';

/** How a distribution sets up containerd. Paths are the host's. */
export type Distribution = {
  readonly name: string;
  readonly containerdConfig: string;
  readonly criSocket: string;
  /** Where people should add a handler; some distributions overwrite the file itself. */
  readonly edit: string;
};

/** Recognized by any mark: an existing path, or an ID of /etc/os-release (no slash). */
type Rule = Omit<Distribution, keyof typeof PLAIN> &
  Partial<typeof PLAIN> & { readonly marks: readonly string[] };

/** containerd's defaults: https://github.com/containerd/containerd/blob/v2.4.2/defaults/defaults_unix.go */
const PLAIN = {
  containerdConfig: '/etc/containerd/config.toml' as string,
  criSocket: '/run/containerd/containerd.sock' as string,
};

/** The more specific first. */
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
    // Also RKE2, whose socket is the same, if neither's directories are mounted.
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

/** For a disk that is slow while the node boots. */
const MAX_RETRIES = 12;
const RETRY_PAUSE_MS = 5_000;

/**
 * Plain containerd if nothing matches. The agent keeps the CRI socket for life, so timeouts are retried for a
 * minute, then rejected. Unreadable files count as absent; the proof notices a wrong socket.
 */
export async function readDistribution(host: Host, pauseMs = RETRY_PAUSE_MS): Promise<Distribution> {
  let retries = MAX_RETRIES;
  const retry = async <T>(read: () => Promise<T>): Promise<T | undefined> => {
    for (;;) {
      try {
        return await read();
      } catch (error) {
        if (!(error instanceof TimeoutError)) return undefined;
        if (retries-- <= 0) throw error;
        await timers.setTimeout(pauseMs);
      }
    }
  };
  const isThere = async (path: string) => (await retry(() => host.stat(path))) !== undefined;
  const os = osId((await retry(() => host.readText('/etc/os-release'))) ?? '');
  for (const { marks, ...distribution } of RULES) {
    const matches = await Promise.all(
      marks.map((mark) => (mark.startsWith('/') ? isThere(mark) : mark === os)),
    );
    if (!matches.includes(true)) continue;
    // CRI-O may be installed beside a containerd that is in use.
    if (distribution.name === 'CRI-O' && (await isThere(PLAIN.criSocket))) continue;
    return { ...PLAIN, ...distribution };
  }
  const edit = '/etc/containerd/config.toml or a file that it imports; then restart containerd';
  return { ...PLAIN, name: 'containerd', edit };
}

/** "" if absent: https://www.freedesktop.org/software/systemd/man/os-release.html */
export function osId(text: string): string {
  return /^ID=["']?([^"'\n]*)["']?\s*$/m.exec(text)?.[1] ?? '';
}

/** `named` is the path from the settings. */
export type ConfigPathSources = {
  readonly host: Host;
  readonly client: Pick<CriClient, 'serverPid'>;
  readonly distribution: Distribution;
  readonly named: string | undefined;
};

/** "-c x", "-c=x", "--config x" or "--config=x", NUL-separated. */
const CONFIG_FLAG = /\0(?:-c|--config)[=\0]([^\0]*)/;

/**
 * Resolves the root configuration file: from the settings, containerd's command line (Flatcar, k3s), or the
 * distribution. Cached once containerd has reported its PID.
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
 * The PID is containerd's own report, and must not be in a nested PID namespace, so that no pod can pose as
 * containerd. Flags: https://github.com/containerd/containerd/blob/v2.4.2/cmd/containerd/command/main.go
 */
async function readArguments({ host, client }: ConfigPathSources): Promise<readonly string[] | undefined> {
  const pid = await client.serverPid();
  const process = pid > 0 ? await readProcess(host, pid) : undefined;
  return process?.namespacedPids.join() === String(pid) ? process.argv : undefined;
}
