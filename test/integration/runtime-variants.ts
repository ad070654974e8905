import type { Reason } from '../../agent/reasons.ts';
import type { Verdict } from '../../agent/verdict.ts';

/** One way in which a handler leads to a runtime, and what the agent must say of it. */
export type Variant = {
  readonly what: string;
  /** The shim: a runtime type, or the path of a program. gVisor's of the same release as runsc unless told. */
  readonly shim?: string;
  /** Options of the handler besides ConfigPath. */
  readonly options?: Readonly<Record<string, string>>;
  /** What the shim's file says: binary_name, and flags of runsc. */
  readonly runsc?: string;
  readonly flags?: Readonly<Record<string, string>>;
  /** Patterns of pod annotations that the handler passes on. */
  readonly podAnnotations?: readonly string[];
  /** Settings of the agent. */
  readonly env?: Readonly<Record<string, string>>;
  readonly says: readonly [Verdict['status'], ...Reason[]];
  /** What it may also say, by the machine. */
  readonly elsewhere?: readonly (readonly [Verdict['status'], Reason])[];
  /** What a finding must advise besides. */
  readonly warning?: Reason;
  /** Nothing about it differs between releases of containerd. */
  readonly once?: true;
};

/** Where each gVisor is, its shim beside it. */
export const GVISOR = {
  old: '/opt/gvisor/2025-02',
  current: '/opt/gvisor/2026-02',
  bare: '/opt/gvisor/2026-09',
  whole: '/opt/gvisor/2026-09-whole',
  noPrewarmer: '/opt/gvisor/2026-09-no-prewarmer',
} as const;
/** Where the shim of runc is, and things that are not what their names say. */
export const RUNC_SHIM = '/usr/local/bin/containerd-shim-runc-v2';
/** See {@link RUNC_SHIM}. */
export const DISGUISES = {
  link: '/opt/gvisor/runsc',
  newestLink: '/opt/gvisor/newest',
  shimLink: '/opt/gvisor/link/containerd-shim-runsc-v1',
  shimCopy: '/opt/gvisor/copy/containerd-shim-runsc-v1',
  script: '/opt/gvisor/script/runsc',
} as const;
const RUNC_TYPE = 'io.containerd.runc.v2';
const STRICT = { 'sidecar-usage-policy': 'STRICT' };
const NEVER = { MIN_RUNSC_RELEASE: '20990101.0' };

const PROVEN = ['True', 'SandboxProven'] as const;
const RUNC = ['False', 'HandlerRunsRunc', 'GuestIsHostKernel'] as const;

/** Every variant that is tried. */
export const VARIANTS: readonly Variant[] = [
  { what: 'gVisor 2025-02', runsc: `${GVISOR.old}/runsc`, says: PROVEN },
  { what: 'gVisor 2026-02', runsc: `${GVISOR.current}/runsc`, says: PROVEN },
  {
    what: 'gVisor 2026-09, no gvisor-bin',
    runsc: `${GVISOR.bare}/runsc`,
    says: PROVEN,
    warning: 'SidecarMissing',
  },
  { what: 'gVisor 2026-09', runsc: `${GVISOR.whole}/runsc`, says: PROVEN },
  {
    what: 'gVisor 2026-09, no gvisor-bin, STRICT',
    runsc: `${GVISOR.bare}/runsc`,
    flags: STRICT,
    says: ['False', 'SidecarMissing'],
  },
  { what: 'gVisor 2026-09, STRICT', runsc: `${GVISOR.whole}/runsc`, flags: STRICT, says: PROVEN },
  {
    what: 'gVisor 2026-09, no prewarmer, STRICT',
    runsc: `${GVISOR.noPrewarmer}/runsc`,
    flags: STRICT,
    says: ['False', 'SidecarMissing'],
    once: true,
  },
  { what: 'a script that executes runsc', runsc: `${GVISOR.current}/wrapper`, says: PROVEN, once: true },
  {
    what: 'a script that adds --network=host',
    runsc: `${GVISOR.current}/weak-wrapper`,
    says: ['False', 'IsolationWeakened'],
  },
  { what: 'a script, gVisor 2026-09', runsc: `${GVISOR.whole}/wrapper`, says: PROVEN, once: true },
  { what: 'a symbolic link', runsc: DISGUISES.link, says: PROVEN, once: true },
  {
    what: 'a symbolic link, gVisor 2026-09, STRICT',
    runsc: DISGUISES.newestLink,
    flags: STRICT,
    says: PROVEN,
    once: true,
  },
  { what: 'another name', runsc: `${GVISOR.current}/sandboxer`, says: PROVEN, once: true },
  { what: 'platform systrap', flags: { platform: 'systrap' }, says: PROVEN, once: true },
  {
    what: 'platform ptrace',
    flags: { platform: 'ptrace' },
    says: PROVEN,
    warning: 'IsolationWeakened',
    once: true,
  },
  {
    what: "TESTONLY-afs-syscall-panic, a flag of gVisor's own tests",
    flags: { 'TESTONLY-afs-syscall-panic': 'true' },
    says: PROVEN,
    warning: 'IsolationWeakened',
    once: true,
  },
  {
    what: 'gofer-network-namespace host, gVisor 2026-09',
    runsc: `${GVISOR.whole}/runsc`,
    flags: { 'gofer-network-namespace': 'host' },
    says: PROVEN,
    warning: 'IsolationWeakened',
    once: true,
  },
  {
    what: 'pod_annotations "dev.gvisor.*"',
    podAnnotations: ['io.example.*', 'dev.gvisor.*'],
    says: PROVEN,
    warning: 'AnnotationsPassFlags',
  },
  {
    what: 'pod_annotations "dev.gvisor.*", FORBID_FLAG_OVERRIDE=on',
    podAnnotations: ['dev.gvisor.*'],
    env: { FORBID_FLAG_OVERRIDE: 'on' },
    says: ['False', 'AnnotationsPassFlags'],
  },
  {
    what: 'pod_annotations "dev.gvisor.spec.mount.*", FORBID_FLAG_OVERRIDE=on',
    podAnnotations: ['dev.gvisor.spec.mount.*'],
    env: { FORBID_FLAG_OVERRIDE: 'on' },
    says: PROVEN,
  },
  {
    what: 'platform kvm',
    flags: { platform: 'kvm' },
    says: ['False', 'SandboxFailed'],
    // A /dev/kvm that opens and runs no guest makes runsc fail on one machine, and hang on another.
    elsewhere: [PROVEN, ['Unknown', 'SandboxSlow']],
    once: true,
  },
  {
    what: "systemd's cgroups where the kubelet uses cgroupfs",
    flags: { 'systemd-cgroup': 'true' },
    says: ['False', 'LimitsNotEnforced'],
  },
  {
    what: 'a release that is too old',
    env: NEVER,
    says: ['False', 'RunscTooOld'],
    once: true,
  },
  {
    what: 'a release that is too old, gVisor 2026-09',
    runsc: `${GVISOR.whole}/runsc`,
    env: NEVER,
    says: ['False', 'RunscTooOld'],
    once: true,
  },
  {
    what: 'a release that is too old, by a script',
    runsc: `${GVISOR.current}/wrapper`,
    env: NEVER,
    says: ['Unknown', 'ReleaseUnknown'],
    once: true,
  },
  { what: 'runc: its runtime_type, no BinaryName', shim: RUNC_TYPE, says: RUNC },
  {
    what: 'runc: its runtime_type, BinaryName misspelt',
    shim: RUNC_TYPE,
    options: { BinaryNam: `${GVISOR.current}/runsc` },
    says: RUNC,
  },
  { what: 'runc: runtime_path is its shim', shim: RUNC_SHIM, says: RUNC },
  { what: 'runc: a link named as the shim', shim: DISGUISES.shimLink, says: RUNC },
  { what: 'runc: a copy named as the shim', shim: DISGUISES.shimCopy, says: RUNC },
  { what: 'runc: binary_name', runsc: '/usr/local/bin/runc', says: ['False', 'HandlerRunsRunc'] },
  // gVisor's shim asks what runc does not know, so that the sandbox ends at once, or as soon as it was looked at.
  {
    what: 'runc: a script named runsc',
    runsc: DISGUISES.script,
    says: ['False', 'SandboxDied', 'SandboxFailed', 'GuestIsHostKernel'],
  },
];
