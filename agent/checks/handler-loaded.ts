import { errorLine } from '../../lib/base/sanitize.ts';
import { at, type CheckResult, error, pass } from '../../lib/checks/finding.ts';
import type { CheckInputs } from './check.ts';

export async function checkHandlerLoaded(inputs: CheckInputs): Promise<CheckResult> {
  const { handler } = inputs.sources;
  const status = await inputs.status();
  const loaded = status.runtimes.get(handler);
  if (loaded) {
    return pass(`containerd has loaded the handler "${handler}"`, [{ value: loaded.runtimeType }]);
  }
  const names = [...status.runtimes.keys()].map((name) => `"${name}"`).join(', ');
  const evidence = [{ value: `loaded: ${names || 'none'}` }];
  const onDisk = await inputs.config().catch(errorLine);
  const configured = typeof onDisk === 'string' ? undefined : onDisk.runtimes.get(handler);
  if (configured) {
    const message = `The handler "${handler}" is configured on disk, and containerd was not restarted since`;
    return error('RestartPending', message, [at(configured, configured.runtimeType), ...evidence]);
  }
  return error('HandlerNotLoaded', `containerd has not loaded the handler "${handler}"`, [
    ...evidence,
    ...(typeof onDisk === 'string' ? [{ value: onDisk }] : []),
  ]);
}
