import { at, fail, pass } from '../finding.ts';
import { errorLine } from '../sanitize.ts';
import type { Check } from './check.ts';

/** Does the running containerd have the handler? */
export const handlerLoaded: Check = {
  id: 'handler-loaded',
  title: 'The running containerd has the handler',
  async inspect(reading) {
    const { handler } = reading.sources;
    const status = await reading.status();
    const loaded = status.runtimes.get(handler);
    if (loaded) {
      return pass(`containerd has loaded the handler "${handler}"`, [{ value: loaded.runtimeType }]);
    }
    const names = [...status.runtimes.keys()].map((name) => `"${name}"`).join(', ');
    const evidence = [{ value: `loaded: ${names || 'none'}` }];
    const onDisk = await reading.config().catch(errorLine);
    const configured = typeof onDisk === 'string' ? undefined : onDisk.runtimes.get(handler);
    if (configured) {
      const message = `The handler "${handler}" is configured on disk, and containerd was not restarted since`;
      return fail('RestartPending', message, [at(configured, configured.runtimeType), ...evidence]);
    }
    return fail('HandlerNotLoaded', `containerd has not loaded the handler "${handler}"`, [
      ...evidence,
      ...(typeof onDisk === 'string' ? [{ value: onDisk }] : []),
    ]);
  },
};
