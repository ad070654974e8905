import type { ShimInfo } from '../cri/cri.ts';
import { type Evidence, fail, pass, type Seen, unknown } from '../finding.ts';
import { whyNotRunnable } from '../host/runnable.ts';
import { findProgram, type GvisorFiles, readGvisorFiles, shimName } from '../runsc/files.ts';
import type { Check, Sources } from './check.ts';

/** Can containerd find and execute the handler's shim? containerd 2 is asked; for 1.x the files are looked at. */
export const shim: Check = {
  id: 'shim',
  title: 'containerd finds and can execute the shim',
  async inspect(sources, signal) {
    const files = await readGvisorFiles(sources, signal);
    const wanted = files.runtime.runtimePath || files.runtime.runtimeType;
    const answer: ShimInfo = await sources.cri.shimInfo(wanted, signal).catch(() => {
      signal.throwIfAborted();
      return { kind: 'unsupported' };
    });
    const onDisk = await lookOnDisk(sources, files);
    return judgeShim(wanted, answer, onDisk);
  },
};

/** Weighs containerd's own answer against what the files show: the answer wins where it is clear. */
export function judgeShim(wanted: string, answer: ShimInfo, onDisk: Seen): Seen {
  if (answer.kind === 'unsupported') return onDisk;
  if (answer.kind === 'ok') {
    return pass(`containerd found and executed the shim of "${wanted}"`, [{ value: answer.name }]);
  }
  const evidence: readonly Evidence[] = [{ value: answer.message }, ...(onDisk.evidence ?? [])];
  const { message } = answer;
  // A shim from before "-info" ends with this text: it was found and executed.
  if (/flag provided but not defined: -info/.test(message)) {
    return pass(
      `containerd found and executed the shim of "${wanted}", which is too old to describe itself`,
      evidence,
    );
  }
  if (/does not match the expected release/.test(message)) {
    return fail('ReleaseSkew', `The shim refuses to run: ${message}`, evidence);
  }
  if (/permission denied|exec format error|text file busy/i.test(message)) {
    return fail(
      'ShimNotExecutable',
      `containerd cannot execute the shim of "${wanted}": ${message}`,
      evidence,
    );
  }
  if (
    /not installed|invalid custom binary path|no such file|does not exist|invalid runtime name|not found/i.test(
      message,
    )
  ) {
    // containerd keeps the path that it found first; a shim that has moved since is found after a restart.
    const moved =
      onDisk.status === 'pass' ? '; one is there now, and a restart of containerd would find it' : '';
    return fail(
      'ShimNotFound',
      `containerd does not find the shim of "${wanted}"${moved}: ${message}`,
      evidence,
    );
  }
  if (onDisk.status === 'fail') return { ...onDisk, evidence };
  return unknown(
    'CheckFailed',
    `containerd could not make the shim of "${wanted}" describe itself: ${message}`,
    evidence,
  );
}

async function lookOnDisk({ host }: Sources, files: GvisorFiles): Promise<Seen> {
  const { runtimeType, runtimePath } = files.runtime;
  const absolute = runtimePath || (runtimeType.startsWith('/') ? runtimeType : '');
  const name = absolute || shimName(runtimeType);
  if (name === undefined) {
    return fail(
      'ShimNotFound',
      `"${runtimeType}" is no runtime type from which containerd makes a shim's name`,
    );
  }
  const where = [{ value: absolute ? `runtime_path ${absolute}` : `looked in ${files.folders.join(' ')}` }];
  const path = absolute
    ? (await host.stat(absolute)) && absolute
    : await findProgram(host, files.folders, name);
  if (path === undefined) {
    return absolute
      ? fail('ShimNotFound', `"${name}" is not there`, where)
      : unknown(
          'CheckFailed',
          `"${name}" is in none of the usual folders, and containerd's PATH is not known`,
          where,
        );
  }
  const why = await whyNotRunnable(host, path, 0o111);
  if (why)
    return fail('ShimNotExecutable', `"${path}" cannot be executed: ${why.problem}`, [
      why.evidence,
      ...where,
    ]);
  return pass(`The shim is "${path}"`, [{ file: path, value: 'executable' }, ...where]);
}
