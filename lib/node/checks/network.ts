import type { CheckInputs } from './check.ts';
import { blocker, type CheckResult, pass, skip } from './finding.ts';

/** The sandbox of a proof needs no network, and each pod does. */
export async function checkNetwork(inputs: CheckInputs): Promise<CheckResult> {
  const { handler } = inputs.sources;
  const { runtimes, cniErrors } = await inputs.status();
  const { cniConfDir: file } = runtimes.get(handler) ?? {};
  if (file === undefined) return skip(`The handler "${handler}" is not loaded`);
  if (file === '') return pass(`The handler "${handler}" uses the node's network`);
  const error = cniErrors.get(handler);
  if (error === undefined)
    return pass('containerd has loaded cni_conf_dir, which says nothing of its plugins', [
      { file, value: 'loaded' },
    ]);
  const message = `No pod of the handler "${handler}" starts, because containerd has no network from its cni_conf_dir "${file}": ${error}`;
  return blocker('NetworkNotReady', message, [{ file, value: error }]);
}
