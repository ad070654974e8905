import { pooledMap } from '../../lib/base/async.ts';
import { blocker, type CheckResult, pass, skip } from '../../lib/checks/finding.ts';
import type { CheckInputs } from './check.ts';

const CONCURRENCY = 4;

/** The sandbox of a proof has no container, and each pod has. */
export async function checkContainers(inputs: CheckInputs): Promise<CheckResult> {
  const { host, handler } = inputs.sources;
  const loaded = (await inputs.status()).runtimes.get(handler);
  if (loaded === undefined) return skip(`The handler "${handler}" is not loaded`);
  const { ioType, baseRuntimeSpec: file } = loaded;
  const none = `No container of the handler "${handler}" starts`;
  // It needs the address of a sandbox that the shim itself manages, and gVisor's manages none.
  if (ioType !== '') {
    const message = `${none}, because gVisor's shim cannot carry their output with io_type = "${ioType}"`;
    return blocker('PodsCannotStart', message, [{ value: `io_type "${ioType}"` }]);
  }
  const hooks = file === '' ? [] : ((await inputs.baseSpec())?.hooks ?? []);
  const found = await pooledMap(hooks, CONCURRENCY, (hook) => host.stat(hook));
  const absent = hooks.find((_, at) => found[at] === undefined);
  if (absent === undefined) return pass('Neither io_type nor a hook keeps containers from starting');
  const message = `${none}, because the hook "${absent}" of base_runtime_spec "${file}" is not there`;
  return blocker('PodsCannotStart', message, [
    { file: absent, value: 'not there' },
    { file, value: absent },
  ]);
}
