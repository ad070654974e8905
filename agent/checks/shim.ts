import type { ShimInfo } from '../containerd/client.ts';
import { type CheckResult, checkFailed, type Evidence, fail, pass, unknown } from '../finding.ts';
import { NotVisible } from '../host/paths.ts';
import { whyNotRunnable } from '../host/program.ts';
import type { Reason } from '../reasons.ts';
import { shimOf } from '../runsc/program.ts';
import type { Check, CheckInputs } from './check.ts';

/** Can containerd find and execute the handler's shim? containerd 2 is asked; for 1.x the files are looked at. */
export const shim: Check = {
  id: 'shim',
  title: 'containerd finds and can execute the shim',
  async inspect(reading) {
    const { runtimePath, runtimeType } = await reading.runtime();
    const answer = await reading.shimInfo().catch((): ShimInfo => ({ kind: 'unsupported' }));
    return judgeShim(runtimePath || runtimeType, answer, await lookOnDisk(reading).catch(checkFailed));
  },
};

/** What containerd says of a shim that it cannot use, and what that stands for; the first that matches counts. */
const REFUSALS: readonly (readonly [RegExp, Reason, problem: string])[] = [
  [/does not match the expected release/, 'ReleaseSkew', 'The shim refuses to run'],
  [
    /permission denied|exec format error|text file busy/i,
    'ShimNotExecutable',
    'containerd cannot execute the shim',
  ],
  [
    /not installed|invalid custom binary path|no such file|does not exist|invalid runtime name|not found/i,
    'ShimNotFound',
    'containerd does not find the shim',
  ],
];

/** Weighs containerd's own answer against what the files show: the answer wins where it is clear. */
export function judgeShim(wanted: string, answer: ShimInfo, onDisk: CheckResult): CheckResult {
  if (answer.kind === 'unsupported') return onDisk;
  const found = `containerd found and executed the shim of "${wanted}"`;
  if (answer.kind === 'ok') return pass(found, [{ value: answer.name }]);
  const { message } = answer;
  const evidence: readonly Evidence[] = [{ value: message }, ...(onDisk.evidence ?? [])];
  // A shim from before "-info" ends with this text: it was found and executed.
  if (/flag provided but not defined: -info/.test(message))
    return pass(`${found}, which is too old to describe itself`, evidence);
  const [, reason, problem] = REFUSALS.find(([pattern]) => pattern.test(message)) ?? [];
  if (reason !== undefined) {
    const of = reason === 'ReleaseSkew' ? '' : ` of "${wanted}"`;
    // containerd keeps the path that it found first; a shim that has moved since is found after a restart.
    const moved =
      reason === 'ShimNotFound' && onDisk.status === 'pass'
        ? '; one is there now, and a restart of containerd would find it'
        : '';
    return fail(reason, `${problem}${of}${moved}: ${message}`, evidence);
  }
  if (onDisk.status === 'fail') return { ...onDisk, evidence };
  const silent = `containerd could not make the shim of "${wanted}" describe itself: ${message}`;
  return unknown('CheckFailed', silent, evidence);
}

/** What a check says of a program that is not where it was looked for. */
export function notFound(reason: Reason, program: string, evidence: readonly Evidence[]): CheckResult {
  if (program.startsWith('/')) return fail(reason, `"${program}" is not there`, evidence);
  const message = `"${program}" is in none of the usual folders, and containerd's PATH is not known`;
  return unknown('CheckFailed', message, evidence);
}

/** Where a program was looked for by its name; what is outside of the agent's mounts may hold it all the same. */
export async function lookedIn(
  { folders, sources: { host } }: CheckInputs,
  program: string,
): Promise<readonly Evidence[]> {
  if (program.startsWith('/')) return [];
  const isHidden = (folder: string) =>
    host.stat(folder).then(
      () => false,
      (error: unknown) => error instanceof NotVisible,
    );
  const hidden = await Promise.all(folders.map(isHidden));
  const those = (which: boolean) => folders.filter((_, index) => hidden[index] === which).join(' ');
  const unseen = { value: `not visible, since the agent does not mount them: ${those(true)}` };
  return [{ value: `looked in ${those(false)}` }, ...(hidden.includes(true) ? [unseen] : [])];
}

async function lookOnDisk(reading: CheckInputs): Promise<CheckResult> {
  const runtime = await reading.runtime();
  const wanted = shimOf(runtime);
  if (wanted === undefined) {
    const message = `"${runtime.runtimeType}" is no runtime type from which containerd makes a shim's name`;
    return fail('ShimNotFound', message);
  }
  const path = await reading.shim();
  const where = wanted.startsWith('/') ? [{ value: `runtime_path ${wanted}` }] : [];
  if (path === undefined)
    return notFound('ShimNotFound', wanted, [...where, ...(await lookedIn(reading, wanted))]);
  const why = await whyNotRunnable(reading.sources.host, path, 0o111);
  if (why === undefined)
    return pass(`The shim is "${path}"`, [{ file: path, value: 'executable' }, ...where]);
  const message = `"${path}" cannot be executed: ${why.problem}`;
  return fail('ShimNotExecutable', message, [why.evidence, ...where]);
}
