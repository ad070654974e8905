import type { Reason } from '../../lib/base/reasons.ts';
import {
  type CheckResult,
  checkFailed,
  type Evidence,
  error,
  pass,
  unknown,
} from '../../lib/checks/finding.ts';
import type { ShimInfo } from '../../lib/containerd/client.ts';
import { NotVisible } from '../../lib/host/paths.ts';
import { whyNotRunnable } from '../../lib/host/program.ts';
import { shimOf } from '../../lib/runsc/program.ts';
import type { CheckInputs } from './check.ts';

/** What containerd says of a shim that it cannot use, in order of precedence. */
const REFUSALS = [
  {
    pattern: /does not match the expected release/i,
    reason: 'ReleaseSkew',
    problem: 'The shim refuses to run',
  },
  {
    pattern: /permission denied|exec format error|text file busy/i,
    reason: 'ShimNotExecutable',
    problem: 'containerd cannot execute the shim',
  },
  {
    pattern:
      /not installed|invalid custom binary path|no such file|does not exist|invalid runtime name|not found/i,
    reason: 'ShimNotFound',
    problem: 'containerd does not find the shim',
  },
] as const satisfies readonly { pattern: RegExp; reason: Reason; problem: string }[];

/** containerd 2.x reports it; for 1.x the files are inspected. */
export async function checkShim(inputs: CheckInputs): Promise<CheckResult> {
  const { runtimePath, runtimeType } = await inputs.runtime();
  const info = await inputs.shimInfo().catch((): ShimInfo => ({ kind: 'unsupported' }));
  return judgeShim(runtimePath || runtimeType, info, await inspectFiles(inputs).catch(checkFailed));
}

/** A clear result of containerd wins over the files. */
export function judgeShim(wanted: string, info: ShimInfo, onDisk: CheckResult): CheckResult {
  if (info.kind === 'unsupported') return onDisk;
  const found = `containerd found and executed the shim of "${wanted}"`;
  if (info.kind === 'ok') return pass(found, [{ value: info.name }]);
  const { message } = info;
  const evidence: readonly Evidence[] = [{ value: message }, ...(onDisk.evidence ?? [])];
  // A shim that predates "-info" fails like this, so it was executed.
  if (/flag provided but not defined: -info/.test(message))
    return pass(`${found}, which is too old to describe itself`, evidence);
  const refusal = REFUSALS.find(({ pattern }) => pattern.test(message));
  if (refusal !== undefined) {
    const { reason, problem } = refusal;
    const of = reason === 'ReleaseSkew' ? '' : ` of "${wanted}"`;
    // containerd caches the path until it restarts.
    const moved =
      reason === 'ShimNotFound' && onDisk.status === 'pass'
        ? '; one is there now, and a restart of containerd would find it'
        : '';
    return error(reason, `${problem}${of}${moved}: ${message}`, evidence);
  }
  if (onDisk.status === 'fail') return { ...onDisk, evidence };
  const silent = `containerd could not make the shim of "${wanted}" describe itself: ${message}`;
  return unknown('CheckFailed', silent, evidence);
}

/** Directories that are not mounted may still contain it. */
export async function notFound(
  { directories, sources: { host } }: CheckInputs,
  reason: Reason,
  program: string,
  named: readonly Evidence[],
): Promise<CheckResult> {
  if (program.startsWith('/')) return error(reason, `"${program}" is not there`, named);
  const isHidden = (directory: string) =>
    host.stat(directory).then(
      () => false,
      (error: unknown) => error instanceof NotVisible,
    );
  const hidden = await Promise.all(directories.map(isHidden));
  const those = (which: boolean) => directories.filter((_, index) => hidden[index] === which).join(' ');
  const unseen = { value: `not visible, since the agent does not mount them: ${those(true)}` };
  const message = `"${program}" is in none of the usual directories, and containerd's PATH is not known`;
  const searched = { value: `looked in ${those(false)}` };
  return unknown('CheckFailed', message, [...named, searched, ...(hidden.includes(true) ? [unseen] : [])]);
}

async function inspectFiles(inputs: CheckInputs): Promise<CheckResult> {
  const runtime = await inputs.runtime();
  const wanted = shimOf(runtime);
  if (wanted === undefined) {
    const message = `"${runtime.runtimeType}" is no runtime type from which containerd makes a shim's name`;
    return error('ShimNotFound', message);
  }
  const path = await inputs.shim();
  const where = wanted.startsWith('/') ? [{ value: `runtime_path ${wanted}` }] : [];
  if (path === undefined) return notFound(inputs, 'ShimNotFound', wanted, where);
  const why = await whyNotRunnable(inputs.sources.host, path, 0o111);
  if (why === undefined)
    return pass(`The shim is "${path}"`, [{ file: path, value: 'executable' }, ...where]);
  const message = `"${path}" cannot be executed: ${why.problem}`;
  return error('ShimNotExecutable', message, [why.evidence, ...where]);
}
