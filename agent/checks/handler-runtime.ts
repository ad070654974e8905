import { posix } from 'node:path';
import { at, type CheckResult, type Evidence, error, pass, skip, warning } from '../../lib/checks/finding.ts';
import type { ShimInfo } from '../../lib/containerd/client.ts';
import { type HandlerRuntime, optionOf } from '../../lib/containerd/config.ts';
import type { RunscConfig } from '../../lib/runsc/config.ts';
import { isRuncType, shimOf } from '../../lib/runsc/program.ts';
import type { CheckInputs } from './check.ts';

/** NVIDIA's is left out, because it can start runsc. */
const NO_SANDBOX = /^(runc|crun|youki|containerd-shim-runc-v\d+)$/;
const RUNSC_NAME = /runsc/;

export async function checkHandlerRuntime(inputs: CheckInputs): Promise<CheckResult> {
  const { host, handler } = inputs.sources;
  const runtime = await inputs.runtime();
  if (runtime.seen === 'assumed') return skip(`There is no handler "${handler}"`);
  const resolved = async (path: string) =>
    path.startsWith('/') ? ((await host.realpath(path)) ?? path) : path;
  const config = await inputs.runscConfig();
  const shim = await resolved((await inputs.shim()) ?? shimOf(runtime) ?? runtime.runtimeType);
  const binary = await resolved((await inputs.runsc()) ?? config.binaryName);
  // The shim check reports a failure; without this call the names decide.
  const info = await inputs.shimInfo().catch(() => undefined);
  return judgeRuntime({ handler, runtime, config, shim, binary, info });
}

export type RuntimeFacts = {
  readonly handler: string;
  readonly runtime: HandlerRuntime;
  readonly config: RunscConfig;
  readonly shim: string;
  readonly binary: string;
  readonly info: ShimInfo | undefined;
};

export function judgeRuntime({ handler, runtime, config, shim, binary, info }: RuntimeFacts): CheckResult {
  const { runtimeType, runtimePath, seen } = runtime;
  const evidence = [at(runtime, `runtime_type ${runtimeType || '""'} (${seen})`)];
  const runsRunc = (because: string, more: Evidence) => {
    const message = `Pods of the handler "${handler}" run on plain runc: ${because}`;
    return error('HandlerRunsRunc', message, [...evidence, more]);
  };

  if (isRuncType(runtimeType) && !runtimePath) {
    const binaryName = optionOf(runtime, 'BinaryName');
    if (RUNSC_NAME.test(posix.basename(binaryName))) {
      const message = `The handler "${handler}" starts "${binaryName}" through runc's shim, which gVisor does not support`;
      return warning('HandlerUsesRuncShim', message, evidence);
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
    const named = at({ file: config.file }, `binary_name ${config.binaryName}`);
    return runsRunc(`its binary_name leads to "${binary}"`, named);
  }
  const named = runtimePath ? posix.basename(shim) : runtimeType;
  if (RUNSC_NAME.test(named) || (info?.kind === 'ok' && RUNSC_NAME.test(info.name))) {
    return pass(`The handler "${handler}" runs gVisor's shim`, evidence);
  }
  const message = `The handler "${handler}" runs "${named}", which is not known to be gVisor's shim`;
  return warning('HandlerNotGvisor', message, evidence);
}
