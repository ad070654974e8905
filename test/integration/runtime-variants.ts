import type { Reason } from '../../lib/node/reasons.ts';
import type { Verdict } from '../../lib/report/verdict.ts';

/** A handler and the verdict that the agent must reach. */
export type Variant = {
  readonly name: string;
  /** A runtime type or the path of a shim; by default gVisor's of the same release as runsc. */
  readonly shim?: string;
  /** Options of the handler besides ConfigPath. */
  readonly options?: Readonly<Record<string, string>>;
  /** binary_name in the shim's file. */
  readonly runsc?: string;
  /** Flags in the shim's file. */
  readonly flags?: Readonly<Record<string, string>>;
  readonly sandboxer?: 'shim';
  /** `pod_annotations` of the handler. */
  readonly podAnnotations?: readonly string[];
  /** Settings of the agent. */
  readonly env?: Readonly<Record<string, string>>;
  readonly verdict: readonly [Verdict['status'], ...Reason[]];
  /** A warning that must be among the findings. */
  readonly warning?: Reason;
  /** Runs on one containerd version only. */
  readonly once?: true;
};

/** Directories of each gVisor with its shim. */
export const GVISOR = {
  old: '/opt/gvisor/2025-02',
  current: '/opt/gvisor/2026-02',
  bare: '/opt/gvisor/2026-09',
  whole: '/opt/gvisor/2026-09-whole',
} as const;
export const RUNC_SHIM = '/usr/local/bin/containerd-shim-runc-v2';
/** Links and scripts with misleading names. */
export const DISGUISES = {
  link: '/opt/gvisor/runsc',
  shimLink: '/opt/gvisor/link/containerd-shim-runsc-v1',
  script: '/opt/gvisor/script/runsc',
} as const;
const RUNC_TYPE = 'io.containerd.runc.v2';
const STRICT = { 'sidecar-usage-policy': 'STRICT' };
const NEVER = { MIN_RUNSC_RELEASE: '20990101.0' };

const PROVEN = ['True', 'SandboxProven'] as const;
const RUNC = ['False', 'HandlerRunsRunc', 'GuestIsHostKernel'] as const;

/** A device file on a file system that allows none. */
export const DENIED_KVM = '/mnt/nodev/kvm';

/** The platform kvm with a device that is absent, denied, or opens and is not KVM's. */
function kvmVariants(gvisor: keyof typeof GVISOR, release: string): readonly Variant[] {
  return (
    [
      ['is absent', '/dev/kvm-absent', 'KvmMissing'],
      ['is denied', DENIED_KVM, 'KvmNotPermitted'],
      ['runs no guest', '/dev/null', 'KvmRunsNoGuest'],
    ] as const
  ).map(([state, device, reason]) => ({
    name: `platform kvm, gVisor ${release}, its device ${state}`,
    runsc: `${GVISOR[gvisor]}/runsc`,
    flags: { platform: 'kvm', platform_device_path: device },
    verdict: ['False', reason],
  }));
}

/** Every variant, in the order of the table. */
export const VARIANTS: readonly Variant[] = [
  { name: 'gVisor 2025-02', runsc: `${GVISOR.old}/runsc`, verdict: PROVEN },
  { name: 'gVisor 2026-02', runsc: `${GVISOR.current}/runsc`, verdict: PROVEN },
  {
    name: 'gVisor 2026-09, no gvisor-bin',
    runsc: `${GVISOR.bare}/runsc`,
    verdict: PROVEN,
    warning: 'SidecarMissing',
  },
  { name: 'gVisor 2026-09', runsc: `${GVISOR.whole}/runsc`, verdict: PROVEN },
  {
    name: 'gVisor 2026-09, no gvisor-bin, STRICT',
    runsc: `${GVISOR.bare}/runsc`,
    flags: STRICT,
    verdict: ['False', 'SidecarMissing'],
  },
  { name: 'gVisor 2026-09, STRICT', runsc: `${GVISOR.whole}/runsc`, flags: STRICT, verdict: PROVEN },
  { name: 'a script that executes runsc', runsc: `${GVISOR.current}/wrapper`, verdict: PROVEN, once: true },
  {
    name: 'a script that adds --network=host',
    runsc: `${GVISOR.current}/weak-wrapper`,
    verdict: ['False', 'IsolationWeakened'],
  },
  { name: 'a symbolic link', runsc: DISGUISES.link, verdict: PROVEN, once: true },
  { name: 'another name', runsc: `${GVISOR.current}/sandboxer`, verdict: PROVEN, once: true },
  {
    name: 'platform ptrace',
    flags: { platform: 'ptrace' },
    verdict: PROVEN,
    warning: 'IsolationWeakened',
    once: true,
  },
  {
    name: 'pod_annotations "dev.gvisor.*"',
    podAnnotations: ['io.example.*', 'dev.gvisor.*'],
    verdict: PROVEN,
    warning: 'AnnotationsPassFlags',
  },
  {
    name: 'pod_annotations "dev.gvisor.*", FORBID_FLAG_OVERRIDE=on',
    podAnnotations: ['dev.gvisor.*'],
    env: { FORBID_FLAG_OVERRIDE: 'on' },
    verdict: ['False', 'AnnotationsPassFlags'],
  },
  {
    name: 'pod_annotations "dev.gvisor.spec.mount.*", FORBID_FLAG_OVERRIDE=on',
    podAnnotations: ['dev.gvisor.spec.mount.*'],
    env: { FORBID_FLAG_OVERRIDE: 'on' },
    verdict: PROVEN,
  },
  ...kvmVariants('current', '2026-02'),
  ...kvmVariants('old', '2025-02').map((variant) => ({ ...variant, once: true as const })),
  ...kvmVariants('whole', '2026-09').map((variant) => ({ ...variant, once: true as const })),
  ...(['old', 'current', 'whole'] as const).map((gvisor) => ({
    name: `sandboxer "shim", ${GVISOR[gvisor]}`,
    runsc: `${GVISOR[gvisor]}/runsc`,
    sandboxer: 'shim' as const,
    verdict: ['False', 'SandboxerUnsupported'] as const,
    once: true as const,
  })),
  {
    name: "systemd's cgroups where the kubelet uses cgroupfs",
    flags: { 'systemd-cgroup': 'true' },
    verdict: ['False', 'LimitsNotEnforced'],
  },
  { name: 'a release that is too old', env: NEVER, verdict: ['False', 'RunscTooOld'], once: true },
  {
    name: 'a release that is too old, by a script',
    runsc: `${GVISOR.current}/wrapper`,
    env: NEVER,
    verdict: ['Unknown', 'ReleaseUnknown'],
    once: true,
  },
  { name: 'runc: its runtime_type, no BinaryName', shim: RUNC_TYPE, verdict: RUNC },
  { name: 'runc: runtime_path is its shim', shim: RUNC_SHIM, verdict: RUNC },
  { name: 'runc: a link named as the shim', shim: DISGUISES.shimLink, verdict: RUNC },
  { name: 'runc: binary_name', runsc: '/usr/local/bin/runc', verdict: ['False', 'HandlerRunsRunc'] },
  // runc rejects a request of gVisor's shim, so the sandbox ends before or just after it is inspected.
  {
    name: 'runc: a script named runsc',
    runsc: DISGUISES.script,
    verdict: ['False', 'SandboxDied', 'SandboxFailed', 'GuestIsHostKernel'],
  },
];
