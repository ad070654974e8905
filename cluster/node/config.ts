import { addressOf, podCidrOf } from '../plan/addresses.ts';
import type { NodeSpec } from '../plan/nodes.ts';
import KUBELET from './kubelet.json' with { type: 'json' };

export function additionalFiles(handler: string) {
  const directory = `/usr/local/lib/${handler}`;
  return {
    runsc: `${directory}/runsc`,
    shim: `${directory}/containerd-shim-runsc-v1`,
    config: `${directory}/runsc.toml`,
  };
}

export const SHIM = '/usr/local/bin/containerd-shim-runsc-v1';
export const RUNSC = '/usr/local/bin/runsc';
/** A sandbox needs this and the prewarmer if its sidecar-usage-policy is STRICT. */
export const SENTRY = '/usr/local/bin/gvisor-bin/gvisor_sentry';
export const PREWARMER = '/usr/local/bin/gvisor-bin/gvisor-sentry-prewarmer';

/** The prewarmer's sources are not in gVisor's Go module: this executes the given program. */
export const PREWARMER_SCRIPT = '#!/bin/bash\nprogram=$1 name=$2\nshift 2\nexec -a "$name" "$program" "$@"\n';

/** containerd's sandbox image. */
export const PAUSE_IMAGE = 'localhost/gvisor-ready-pause:2';

export const CONTAINERD_CONFIG = '/etc/containerd/config.toml';
export const RUNSC_CONFIG = '/etc/containerd/runsc.toml';

/** See https://github.com/containerd/containerd/blob/main/docs/hosts.md */
export const HOSTS = '/etc/containerd/certs.d';

/** The settings that the running containerd has loaded. */
export const LOADED_CONFIG = '/run/containerd-loaded.toml';

/** The table with the handlers. */
export const RUNTIME_TABLE = {
  '2': "plugins.'io.containerd.cri.v1.runtime'",
  '1.7': 'plugins."io.containerd.grpc.v1.cri"',
} as const;

export function gvisorTable(spec: NodeSpec, table: string = RUNTIME_TABLE[spec.containerd]): string {
  return runtimeTable(`${table}.containerd.runtimes.runsc`, RUNSC_CONFIG);
}

function runtimeTable(name: string, config: string, runtimePath = ''): string {
  return `
[${name}]
  runtime_type = "io.containerd.runsc.v1"
${runtimePath === '' ? '' : `  runtime_path = "${runtimePath}"\n`}  [${name}.options]
    TypeUrl = "io.containerd.runsc.v1.options"
    ConfigPath = "${config}"
`;
}

function additionalTables({ containerd, additional = [] }: NodeSpec): string {
  const tables = additional.map((handler) => {
    const { config, shim } = additionalFiles(handler);
    return runtimeTable(`${RUNTIME_TABLE[containerd]}.containerd.runtimes.${handler}`, config, shim);
  });
  return tables.join('');
}

function containerdBase(spec: NodeSpec): string {
  const table = RUNTIME_TABLE[spec.containerd];
  const images = spec.containerd === '2' ? "plugins.'io.containerd.cri.v1.images'" : table;
  // config_path: containerd 2 takes its own default, a list of two directories, for the name of one.
  // https://github.com/containerd/containerd/issues/12808
  return `version = ${spec.containerd === '2' ? 3 : 2}

[${table}]
  restrict_oom_score_adj = true
${spec.containerd === '2' ? '' : `  sandbox_image = "${PAUSE_IMAGE}"\n`}
[${table}.containerd]
  default_runtime_name = "runc"

[${table}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
${spec.machine === 'vm' ? `[${table}.containerd.runtimes.runc.options]\n  SystemdCgroup = true\n` : ''}
[${table}.cni]
  ${spec.containerd === '2' ? 'bin_dirs = ["/opt/cni/bin"]' : 'bin_dir = "/opt/cni/bin"'}
  conf_dir = "/etc/cni/net.d"

[${images}.registry]
  config_path = "${HOSTS}"
${spec.containerd === '2' ? `[${images}.pinned_images]\n  sandbox = "${PAUSE_IMAGE}"\n` : ''}`;
}

/** TOML. */
export function containerdConfig(
  spec: NodeSpec,
  handler = spec.gvisor === 'none' ? '' : gvisorTable(spec),
): string {
  return `${containerdBase(spec)}${additionalTables(spec)}${handler}`;
}

/** TOML. */
export const RUNSC_TOML = '[runsc_config]\n  platform = "systrap"\n';

/** runsc must use systemd if the cgroup driver does. */
export function gvisorConfig(spec: NodeSpec, systemdCgroup = spec.machine === 'vm'): string {
  return `${RUNSC_TOML}${systemdCgroup ? '  systemd-cgroup = "true"\n' : ''}`;
}

/** A bridge on each node, with addresses of the node's range. */
export function cniConfig(spec: NodeSpec): string {
  return JSON.stringify({
    cniVersion: '1.0.0',
    name: 'cluster',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        ipMasq: false,
        hairpinMode: true,
        ipam: { type: 'host-local', ranges: [[{ subnet: podCidrOf(spec) }]], routes: [{ dst: '0.0.0.0/0' }] },
      },
    ],
  });
}

/** JSON is YAML. */
export function kubeletConfig(spec: NodeSpec): string {
  const cgroupDriver = spec.machine === 'vm' ? 'systemd' : 'cgroupfs';
  return JSON.stringify({ ...KUBELET, address: addressOf(spec), cgroupDriver });
}

export const STATIC_PODS = KUBELET.staticPodPath;

/** Written last: its presence means that the node is installed. */
export const KUBELET_CONFIG = '/etc/kubernetes/kubelet.json';

export function kubeletCommand(spec: NodeSpec): readonly string[] {
  return [
    'kubelet',
    `--config=${KUBELET_CONFIG}`,
    '--kubeconfig=/etc/kubernetes/kubelet.kubeconfig',
    `--hostname-override=${spec.name}`,
    `--node-ip=${addressOf(spec)}`,
  ];
}
