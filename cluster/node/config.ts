import { CONTROL_PLANE_ADDRESS } from '../control-plane/control-plane.ts';

/** What a node is made of. `gvisor: "none"` makes one where gVisor pods cannot run. */
export type NodeSpec = {
  readonly name: string;
  /** Position in the cluster's address plan, 1 to 200. */
  readonly index: number;
  readonly containerd: '2' | '1.7';
  /** `-bare` is without `gvisor-bin/`, as people install it who take runsc and the shim alone. */
  readonly gvisor: 'current' | '2025' | '2026-09' | '2026-09-bare' | 'none';
  /** Namespaces on this kernel, or a guest with a kernel and a systemd of its own. */
  readonly machine: 'namespaces' | 'vm';
};

/** Where the node's gVisor programs are. */
export const SHIM = '/usr/local/bin/containerd-shim-runsc-v1';
/** See {@link SHIM}. */
export const RUNSC = '/usr/local/bin/runsc';
/** The programs of gvisor-bin/ that a sandbox needs when its sidecar-usage-policy is STRICT. */
export const SENTRY = '/usr/local/bin/gvisor-bin/gvisor_sentry';
/** See {@link SENTRY}. */
export const PREWARMER = '/usr/local/bin/gvisor-bin/gvisor-sentry-prewarmer';

/** Stands in for the prewarmer, whose sources gVisor's module lacks: it becomes the program that it is given. */
export const PREWARMER_SCRIPT = '#!/bin/bash\nprogram=$1 name=$2\nshift 2\nexec -a "$name" "$program" "$@"\n';

/** The node's address on the cluster's bridge. */
export function addressOf(spec: NodeSpec): string {
  return `10.89.0.${10 + spec.index}`;
}

/** The addresses of the node's pods. */
export function podCidrOf(spec: NodeSpec): string {
  return `10.244.${spec.index}.0/24`;
}

/** The name of the sandbox image that containerd is told to use. */
export const PAUSE_IMAGE = 'localhost/gvisor-ready-pause:1';

/** Where containerd's configuration and the gVisor shim's lie, as the distributions' packages have it. */
export const CONTAINERD_CONFIG = '/etc/containerd/config.toml';
/** The file that the handler's ConfigPath names. */
export const RUNSC_CONFIG = '/etc/containerd/runsc.toml';

/** A copy of the configuration as containerd had it before it when it started; it goes with the machine. */
export const LOADED_CONFIG = '/run/containerd-loaded.toml';

/** The table of containerd's configuration that holds the handlers, by the version that reads it. */
export const RUNTIME_TABLE = {
  '2': "plugins.'io.containerd.cri.v1.runtime'",
  '1.7': 'plugins."io.containerd.grpc.v1.cri"',
} as const;

/** The group of programs that each containerd comes from. */
export const CONTAINERD_TOOLS = {
  '2': 'containerd',
  '1.7': 'containerd-1.7',
} as const;

/** The group of programs that each gVisor comes from. */
export const GVISOR_TOOLS = {
  current: 'gvisor',
  '2025': 'gvisor-2025',
  '2026-09': 'gvisor-2026-09',
  '2026-09-bare': 'gvisor-2026-09',
} as const;

/** The table of one runtime handler in containerd's configuration, for the version that the node runs. */
export function handlerTable(spec: NodeSpec, table: string = RUNTIME_TABLE[spec.containerd]): string {
  return `
[${table}.containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
  [${table}.containerd.runtimes.runsc.options]
    TypeUrl = "io.containerd.runsc.v1.options"
    ConfigPath = "${RUNSC_CONFIG}"
`;
}

/** containerd's configuration without any gVisor handler. */
function containerdBase(spec: NodeSpec): string {
  const table = RUNTIME_TABLE[spec.containerd];
  const images =
    spec.containerd === '2'
      ? `[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = "${PAUSE_IMAGE}"\n`
      : '';
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

${images}`;
}

/** containerd's whole configuration (TOML). */
export function containerdConfig(
  spec: NodeSpec,
  handler = spec.gvisor === 'none' ? '' : handlerTable(spec),
): string {
  return `${containerdBase(spec)}${handler}`;
}

/** The gVisor shim's configuration (TOML). */
export const RUNSC_TOML = '[runsc_config]\n  platform = "systrap"\n';

/** The shim's configuration for a node; where systemd rules the cgroups, runsc must be told to ask it for its own. */
export function runscToml(spec: NodeSpec, systemdCgroup = spec.machine === 'vm'): string {
  return `${RUNSC_TOML}${systemdCgroup ? '  systemd-cgroup = "true"\n' : ''}`;
}

/** The CNI configuration: a bridge a node, addresses from the node's own range, routes by the cluster's machines. */
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

/** The kubelet's configuration (JSON is YAML). */
export function kubeletConfig(spec: NodeSpec): string {
  return JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    address: addressOf(spec),
    authentication: { anonymous: { enabled: false }, x509: { clientCAFile: '/etc/kubernetes/pki/ca.crt' } },
    authorization: { mode: 'Webhook' },
    cgroupDriver: spec.machine === 'vm' ? 'systemd' : 'cgroupfs',
    enforceNodeAllocatable: [],
    failCgroupV1: false,
    failSwapOn: false,
    staticPodPath: STATIC_PODS,
    fileCheckFrequency: '2s',
    makeIPTablesUtilChains: false,
    localStorageCapacityIsolation: false,
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    clusterDNS: [CONTROL_PLANE_ADDRESS],
    clusterDomain: 'cluster.local',
    registerWithTaints: [],
    shutdownGracePeriod: '0s',
  });
}

/** Where the kubelet looks for static pods, as kubeadm has it. */
export const STATIC_PODS = '/etc/kubernetes/manifests';

/** Where the kubelet's configuration lies; written last, it also says that the node is installed. */
export const KUBELET_CONFIG = '/etc/kubernetes/kubelet.json';

/** The kubelet and its arguments. */
export function kubeletCommand(spec: NodeSpec): readonly string[] {
  return [
    'kubelet',
    `--config=${KUBELET_CONFIG}`,
    '--kubeconfig=/etc/kubernetes/kubelet.kubeconfig',
    `--hostname-override=${spec.name}`,
    `--node-ip=${addressOf(spec)}`,
  ];
}
