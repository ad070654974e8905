import { fileURLToPath } from 'node:url';
import { status as Code, Metadata } from '@grpc/grpc-js';
import type { Check } from '../../../agent/checks/check.ts';
import { CheckInputs, type Sources } from '../../../agent/checks/check.ts';
import type { CriStatus, Runtime, ShimInfo } from '../../../agent/containerd/client.ts';
import { CriError } from '../../../agent/containerd/error.ts';
import type { CheckResult } from '../../../agent/finding.ts';
import { Host } from '../../../agent/host/host.ts';
import type { Witness } from '../../../agent/proof/witness.ts';
import { RunscPrograms } from '../../../agent/runsc/program.ts';
import { sandboxArgv, TEXT_PAGES } from '../host/fake-process.ts';

/** A runtime as containerd reports it, gVisor's unless said otherwise. */
export function loadedRuntime(changes: Partial<Runtime> = {}): Runtime {
  return {
    runtimeType: 'io.containerd.runsc.v1',
    runtimePath: '',
    options: {},
    snapshotter: '',
    podAnnotations: [],
    ...changes,
  };
}

/** What a healthy containerd of that release answers with these handlers beside "runc". */
export function criStatus(release = 'v2.4.2', handlers: Readonly<Record<string, Runtime>> = {}): CriStatus {
  const runc = loadedRuntime({ runtimeType: 'io.containerd.runc.v2' });
  return {
    runtimeName: 'containerd',
    runtimeVersion: release,
    runtimes: new Map([['runc', runc], ...Object.entries(handlers)]),
    conditions: [{ type: 'RuntimeReady', status: true, reason: '', message: '' }],
  };
}

/** A containerd that gives fixed answers; without a status it does not answer at all. */
export function fakeCri(
  status: CriStatus | undefined,
  shimInfo: ShimInfo = { kind: 'unsupported' },
): Sources['cri'] {
  return {
    socket: '/run/containerd/containerd.sock',
    status: () => (status ? Promise.resolve(status) : Promise.reject(refused('Version'))),
    shimInfo: () => (status ? Promise.resolve(shimInfo) : Promise.reject(refused('PluginInfo'))),
  };
}

/** The error of a call when nobody listens on containerd's socket, or when it ends with another code of gRPC. */
export function refused(method: string, code: Code = Code.UNAVAILABLE): CriError {
  const details = 'connect ECONNREFUSED /run/containerd/containerd.sock';
  return new CriError(
    method,
    Object.assign(new Error(details), { code, details, metadata: new Metadata() }),
    3_000,
  );
}

/** The node whose files are the tree `test/fixtures/hosts/<name>`. */
export function hostOf(name: string): Host {
  return new Host(fileURLToPath(new URL(`../../fixtures/hosts/${name}`, import.meta.url)));
}

/** What checks may look at, on a fixture's files. */
export function sourcesOf(name: string, changes: Partial<Sources> = {}): Sources {
  return {
    host: hostOf(name),
    cri: fakeCri(criStatus()),
    handler: 'runsc',
    containerdConfig: '/etc/containerd/config.toml',
    programs: new RunscPrograms(),
    edit: 'the file of the distribution; then restart containerd',
    requireLimits: false,
    forbidFlagOverride: false,
    ...changes,
  };
}

/** A look's reading of these sources. */
export function readingOf(sources: Sources): CheckInputs {
  return new CheckInputs(sources, new AbortController().signal);
}

/** What a check sees there, of a proof too if there was one. */
export function inspect(check: Check, sources: Sources, witness?: Witness): Promise<CheckResult> {
  return check.inspect(readingOf(sources), witness);
}

/** What a proof showed: a sandbox of gVisor in the kubelet's cgroup, unless said otherwise. */
export function witnessOf(changes: Partial<Witness> = {}): Witness {
  return {
    pid: 189,
    argv: sandboxArgv('1f'),
    flags: { platform: 'systrap' },
    uid: 0,
    seccomp: 2,
    textPages: TEXT_PAGES,
    cgroups: ['/kubepods/gvisor_ready/1f'],
    cgroupParent: '/kubepods/gvisor_ready',
    runtimePids: [1],
    ...changes,
  };
}

/** What a check saw in a word or two: "pass", "blocker RunscTooOld", "unknown CheckFailed". */
export function outcome(seen: CheckResult): string {
  if (seen.status === 'pass' || seen.status === 'skipped') return seen.status;
  return `${seen.status === 'fail' ? seen.severity : 'unknown'} ${seen.reason}`;
}
