import { posix } from 'node:path';
import { optionOf } from '../containerd/handler.ts';
import type { ShimInfo } from '../cri/cri.ts';
import { advise, type Evidence, fail, pass, type Seen, skip } from '../finding.ts';
import type { Host } from '../host/host.ts';
import { findProgram, type GvisorFiles, isRuncType, readGvisorFiles, shimName } from '../runsc/files.ts';
import type { Check, Sources } from './check.ts';

/** Programs that run containers on the host's kernel. NVIDIA's is not among them: it can start runsc. */
const NO_SANDBOX = /^(runc|crun|youki|containerd-shim-runc-v\d+)$/;
const RUNSC_NAME = /runsc/;

/** Does the handler really lead to gVisor, and not to runc under another name? */
export const handlerRuntime: Check = {
  id: 'handler-runtime',
  title: 'The handler runs gVisor',
  async inspect(sources, signal) {
    const files = await readGvisorFiles(sources, signal);
    if (files.runtime.seen === 'assumed') {
      return skip(`There is no handler "${sources.handler}"`);
    }
    const shim = await shimBehind(sources.host, files);
    const binary = await behind(sources.host, files.runsc ?? files.config.binaryName);
    const info = await askShim(sources, files, signal);
    return judgeRuntime({ handler: sources.handler, files, shim, binary, info });
  },
};

/** What is known of a handler: the programs' paths have their symbolic links resolved. */
export type RuntimeFacts = {
  readonly handler: string;
  readonly files: Pick<GvisorFiles, 'runtime' | 'config'>;
  readonly shim: string;
  readonly binary: string;
  readonly info: ShimInfo | undefined;
};

/** Judges which runtime a handler leads to. */
export function judgeRuntime({ handler, files, shim, binary, info }: RuntimeFacts): Seen {
  const { runtime, config } = files;
  const { runtimeType, runtimePath, seen, file, line } = runtime;
  const where: Omit<Evidence, 'value'> = { ...(file !== undefined && { file }), ...(line && { line }) };
  const evidence = [{ ...where, value: `runtime_type ${runtimeType || '""'} (${seen})` }];
  const runsRunc = (because: string, more: Evidence): Seen =>
    fail('HandlerRunsRunc', `Pods of the handler "${handler}" run on plain runc: ${because}`, [
      ...evidence,
      more,
    ]);

  if (isRuncType(runtimeType) && !runtimePath) {
    const binaryName = optionOf(runtime, 'BinaryName');
    if (RUNSC_NAME.test(posix.basename(binaryName))) {
      const message = `The handler "${handler}" starts "${binaryName}" through runc's shim, which gVisor does not support`;
      return advise('HandlerUsesRuncShim', message, evidence);
    }
    const because = binaryName
      ? `its BinaryName is "${binaryName}"`
      : 'it has no BinaryName, so runc is used';
    return runsRunc(`its runtime_type is "${runtimeType}" and ${because}`, {
      value: `BinaryName ${binaryName || '""'}`,
    });
  }
  if (NO_SANDBOX.test(posix.basename(shim))) {
    return runsRunc(`its shim is "${shim}"`, { file: shim, value: runtimePath || runtimeType });
  }
  if (info?.kind === 'ok' && isRuncType(info.name)) {
    return runsRunc(`its shim says that it is "${info.name}"`, { value: info.name });
  }
  if (NO_SANDBOX.test(posix.basename(binary))) {
    return runsRunc(`its binary_name leads to "${binary}"`, {
      ...(config.file !== undefined && { file: config.file }),
      value: `binary_name ${config.binaryName}`,
    });
  }
  const named = runtimePath ? posix.basename(shim) : runtimeType;
  if (RUNSC_NAME.test(named) || (info?.kind === 'ok' && RUNSC_NAME.test(info.name))) {
    return pass(`The handler "${handler}" runs gVisor's shim`, evidence);
  }
  const message = `The handler "${handler}" runs "${named}", which is not known to be gVisor's shim`;
  return advise('HandlerNotGvisor', message, evidence);
}

async function shimBehind(host: Host, { runtime, folders }: GvisorFiles): Promise<string> {
  const { runtimeType, runtimePath } = runtime;
  if (runtimePath) return behind(host, runtimePath);
  if (runtimeType.startsWith('/')) return behind(host, runtimeType);
  const name = shimName(runtimeType);
  const found = name === undefined ? undefined : await findProgram(host, folders, name);
  return found === undefined ? (name ?? runtimeType) : behind(host, found);
}

async function behind(host: Host, path: string): Promise<string> {
  return path.startsWith('/') ? ((await host.realpath(path)) ?? path) : path;
}

async function askShim(
  { cri }: Sources,
  { runtime }: GvisorFiles,
  signal: AbortSignal,
): Promise<ShimInfo | undefined> {
  try {
    return await cri.shimInfo(runtime.runtimePath || runtime.runtimeType, signal);
  } catch {
    // The shim check says so; the names above decide here.
    signal.throwIfAborted();
    return undefined;
  }
}
