import type { Runtime } from '../containerd/client.ts';
import { advise, at, pass, skip } from '../finding.ts';
import type { Check } from './check.ts';

/** Is the handler on disk what the running containerd has in memory? containerd never reloads its configuration. */
export const handlerCurrent: Check = {
  id: 'handler-current',
  title: 'The loaded handler is the one on disk',
  async inspect(reading) {
    const { handler } = reading.sources;
    const loaded = (await reading.status()).runtimes.get(handler);
    if (!loaded) return skip(`The handler "${handler}" is not loaded`);
    const config = await reading.config();
    if (config.fault) {
      const { problem } = config.fault;
      const message = `A restart of containerd would lose the handler "${handler}": ${problem}`;
      return advise('ContainerdConfigInvalid', message, [at(config.fault, problem)]);
    }
    const configured = config.runtimes.get(handler);
    if (!configured) {
      const message = `A restart of containerd would lose the handler "${handler}": it is no longer on disk`;
      const read = config.files.map((file) => ({ file, value: 'read' }));
      return advise('RestartPending', message, read);
    }
    const changes = differences(loaded, configured);
    if (changes.length === 0) return pass(`The loaded handler "${handler}" is the one on disk`);
    const message = `A restart of containerd would change the handler "${handler}": ${changes.join('; ')}`;
    const evidence = changes.map((value) => at(configured, value));
    return advise('RestartPending', message, evidence);
  },
};

/** What differs between the handler in memory and the one on disk, one text a setting. */
export function differences(loaded: Runtime, configured: Runtime): readonly string[] {
  const options = new Set([...Object.keys(loaded.options), ...Object.keys(configured.options)]);
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['runtime_type', loaded.runtimeType, configured.runtimeType],
    ['runtime_path', loaded.runtimePath, configured.runtimePath],
    ['snapshotter', loaded.snapshotter, configured.snapshotter],
    ['pod_annotations', loaded.podAnnotations, configured.podAnnotations],
    ...[...options].sort().map((key) => [key, loaded.options[key], configured.options[key]] as const),
  ];
  return pairs
    .filter(([, now, then]) => printed(now) !== printed(then))
    .map(([key, now, then]) => `${key} is ${printed(now)} and becomes ${printed(then)}`);
}

/** An option that is absent and one that has Go's zero value are the same to containerd. */
function printed(value: unknown): string {
  const isZero = value === undefined || value === null || value === '' || value === false || value === 0;
  return isZero ? '""' : JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? String(item) : item));
}
