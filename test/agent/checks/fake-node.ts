import type { TestContext } from 'node:test';
import { type Check, CheckInputs, type Sources } from '../../../agent/checks/check.ts';
import { BaseSpecs } from '../../../agent/runsc/base-spec.ts';
import type { CheckResult } from '../../../lib/checks/finding.ts';
import type { CriStatus, Runtime, ShimInfo } from '../../../lib/containerd/client.ts';
import { CriError } from '../../../lib/containerd/error.ts';
import { Host } from '../../../lib/host/host.ts';
import type { Witness } from '../../../lib/proof/witness.ts';
import { RunscPrograms } from '../../../lib/runsc/program.ts';
import { sandboxArgv, TEXT_PAGES } from '../../lib/host/fake-process.ts';
import { tempHost } from '../../lib/host/temp-host.ts';
import { type HostName, hostOf } from './fixture-hosts.ts';

type Inspect = Check['inspect'];

export type Files = NonNullable<Parameters<typeof tempHost>[1]>;

/** A runtime as containerd reports it, by default gVisor's. */
export function loadedRuntime(changes: Partial<Runtime> = {}): Runtime {
  return {
    runtimeType: 'io.containerd.runsc.v1',
    runtimePath: '',
    options: {},
    snapshotter: '',
    podAnnotations: [],
    ioType: '',
    baseRuntimeSpec: '',
    cniConfDir: '',
    ...changes,
  };
}

/** The status of a ready containerd with these handlers beside "runc". */
export function criStatus(release = 'v2.4.2', handlers: Readonly<Record<string, Runtime>> = {}): CriStatus {
  const runc = loadedRuntime({ runtimeType: 'io.containerd.runc.v2' });
  return {
    runtimeName: 'containerd',
    runtimeVersion: release,
    runtimes: new Map([['runc', runc], ...Object.entries(handlers)]),
    cniErrors: new Map(),
    cni: { plugins: [], directories: [] },
    conditions: [{ type: 'RuntimeReady', status: true, reason: '', message: '' }],
  };
}

/** A containerd with fixed responses; without a status it is unreachable. */
export function fakeCri(
  status: CriStatus | undefined,
  shimInfo: ShimInfo = { kind: 'unsupported' },
): Sources['cri'] {
  return {
    socket: '/run/containerd/containerd.sock',
    status: () => (status ? Promise.resolve(status) : Promise.reject(failedCall('Version'))),
    shimInfo: () => (status ? Promise.resolve(shimInfo) : Promise.reject(failedCall('PluginInfo'))),
    answersLate: false,
  };
}

/** A containerd that has loaded this runtime for "runsc". */
export function criWith(changes: Partial<Runtime>, release?: string, shimInfo?: ShimInfo): Sources['cri'] {
  return fakeCri(criStatus(release, { runsc: loadedRuntime(changes) }), shimInfo);
}

export function failedCall(method: string, kind: CriError['kind'] = 'unreachable'): CriError {
  return new CriError(method, kind, 'connect ECONNREFUSED /run/containerd/containerd.sock');
}

/** Sources with the files of a fixture. */
export function sourcesOf(name: HostName | '', changes: Partial<Sources> = {}): Sources {
  return {
    host: hostOf(name),
    cri: fakeCri(criStatus()),
    handler: 'runsc',
    containerdConfig: '/etc/containerd/config.toml',
    programs: new RunscPrograms(),
    baseSpecs: new BaseSpecs(),
    edit: 'the file of the distribution; then restart containerd',
    requireLimits: false,
    forbidFlagOverride: false,
    ...changes,
  };
}

export async function sourcesWith(
  t: TestContext,
  files: Files,
  changes: Partial<Sources> = {},
): Promise<Sources> {
  return sourcesOf('', { host: await tempHost(t, files), ...changes });
}

/** Has every view of every host fail for paths to which `refusal` gives an error. */
export function refuseStats(t: TestContext, refusal: (path: string) => Error | undefined): void {
  const { stat } = Host.prototype;
  t.mock.method(Host.prototype, 'stat', function (this: Host, path: string) {
    const error = refusal(path);
    return error === undefined ? stat.call(this, path) : Promise.reject(error);
  });
}

export function inputsOf(sources: Sources): CheckInputs {
  return new CheckInputs(sources, new AbortController().signal);
}

export function inspect(check: Inspect, sources: Sources, witness?: Witness): Promise<CheckResult> {
  return check(inputsOf(sources), witness);
}

/** The evidence of a proof, by default of a gVisor sandbox in the kubelet's cgroup. */
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

/** A result in a word or two: "pass", "blocker RunscTooOld", "unknown CheckFailed". */
export function outcome(result: CheckResult): string {
  if (result.status === 'pass' || result.status === 'skipped') return result.status;
  return `${result.status === 'fail' ? result.severity : 'unknown'} ${result.reason}`;
}

export async function outcomeOf(check: Inspect, sources: Sources, witness?: Witness): Promise<string> {
  return outcome(await inspect(check, sources, witness));
}
