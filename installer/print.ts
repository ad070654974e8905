import { handlerTable } from './handler-config.ts';
import { generationOf, readRelease } from './release.ts';

/** Systems that render containerd's configuration, or make nodes from an image. */
export const PLATFORMS = ['k3s', 'rke2', 'k0s', 'microk8s', 'eks', 'talos', 'cloud-init'] as const;
export type Platform = (typeof PLATFORMS)[number];

export const CONTAINERDS = ['1.7', '2'] as const;

export type PrintOptions = {
  readonly handler: string;
  /** Directory of the release, here and on the node. */
  readonly release: string;
  readonly flags: ReadonlyMap<string, string>;
  /** The containerd of the platform. */
  readonly containerd: (typeof CONTAINERDS)[number];
};

/** The piece of a platform's configuration that brings the handler; its comments say where it goes and what was not run. */
export async function printPiece(platform: Platform, options: PrintOptions): Promise<string> {
  return `${(await pieceOf(platform, options)).join('\n')}\n`;
}

async function pieceOf(platform: Platform, options: PrintOptions): Promise<readonly string[]> {
  const { handler, release, flags, containerd } = options;
  const isOld = containerd === '1.7';
  const version = isOld ? 2 : 3;
  const words = [`--release ${release}`, ...[...flags].map(([flag, value]) => `--flag ${flag}=${value}`)];
  const notRun = `A real containerd ${isOld ? '1.7.34' : '2.4.2'} loaded such a table; ${platform} was not run.`;
  const first = comments(
    `First put the programs on each node: gvisor-ready-install stage ${words.join(' ')}`,
    'If the kubelet has the systemd driver, give print and stage --flag systemd-cgroup=true as well.',
  );
  const table = async (of = version) =>
    handlerTable(of, handler, generationOf(await readRelease(release), flags));
  switch (platform) {
    case 'k3s':
    case 'rke2': {
      const directory = `/var/lib/rancher/${platform}/agent/etc/containerd`;
      const file = isOld ? 'config.toml.tmpl' : `config-v3.toml.d/gvisor-ready-${handler}.toml`;
      return [
        ...first,
        ...comments(`Then save this as ${directory}/${file}, and restart ${platform}.`, notRun),
        ...(isOld ? ['{{ template "base" . }}', ''] : []),
        ...(await table()),
      ];
    }
    case 'k0s': {
      const file = `/etc/k0s/containerd.d/gvisor-ready-${handler}.toml`;
      return [
        ...first,
        ...comments(`Then save this as ${file}; k0s restarts containerd.`, notRun),
        `version = ${version}`,
        ...(await table()),
      ];
    }
    case 'microk8s':
      return [
        ...first,
        ...comments(
          'Then append this to /var/snap/microk8s/current/args/containerd-template.toml, whose version is 2 with any',
          'containerd: microk8s stop && microk8s start. MicroK8s was not run.',
        ),
        ...(await table(2)),
      ];
    case 'eks':
      return [
        ...first,
        ...comments(
          'or in the machine image. Then give nodeadm (AL2023) this, and replace the nodes.',
          notRun,
        ),
        ...[
          'apiVersion: node.eks.aws/v1alpha1',
          'kind: NodeConfig',
          'spec:',
          '  containerd:',
          '    config: |',
        ],
        ...(await table()).map((line) => `      ${line}`),
      ];
    case 'talos':
      return [
        ...comments(
          "Add the system extension siderolabs/gvisor to the installer's image, patch the machine configuration with this,",
          'and upgrade the node. Talos was not run.',
        ),
        ...['machine:', '  sysctls:', '    user.max_user_namespaces: "11255"'],
      ];
    case 'cloud-init':
      return [
        '#cloud-config',
        ...comments(
          'The program and the release come with the image, or from a mirror before this. cloud-init was not run.',
          'With --no-restart containerd loads the handler when it starts next; without, the node is proven at once.',
        ),
        'runcmd:',
        `  - gvisor-ready-install --no-restart --handler ${handler} install ${words.join(' ')}`,
      ];
  }
}

function comments(...lines: readonly string[]): readonly string[] {
  return lines.map((line) => `# ${line}`);
}
