import { at, type CheckResult, pass, skip, warning } from '../../lib/checks/finding.ts';
import type { Runtime } from '../../lib/containerd/client.ts';
import type { LoadedSpec } from '../runsc/base-spec.ts';
import type { CheckInputs } from './check.ts';

/** containerd reads its configuration only when it starts. */
export async function checkHandlerCurrent(inputs: CheckInputs): Promise<CheckResult> {
  const { handler } = inputs.sources;
  const loaded = (await inputs.status()).runtimes.get(handler);
  if (!loaded) return skip(`The handler "${handler}" is not loaded`);
  const config = await inputs.config();
  if (config.fault) {
    const { problem } = config.fault;
    const message = `A restart of containerd would lose the handler "${handler}": ${problem}`;
    return warning('ContainerdConfigInvalid', message, [at(config.fault, problem)]);
  }
  const configured = config.runtimes.get(handler);
  if (!configured) {
    const message = `A restart of containerd would lose the handler "${handler}": it is no longer on disk`;
    const read = config.files.map((file) => ({ file, value: 'read' }));
    return warning('RestartPending', message, read);
  }
  const spec = loaded.baseRuntimeSpec;
  const isSpecChanged = spec !== '' && (await inputs.baseSpec().then(isChanged, () => false));
  const changes = [
    ...changedSettings(loaded, configured),
    ...(isSpecChanged ? [`base_runtime_spec "${spec}" was changed since containerd read it`] : []),
  ];
  if (changes.length === 0) return pass(`The loaded handler "${handler}" is the one on disk`);
  const message = `A restart of containerd would change the handler "${handler}": ${changes.join('; ')}`;
  const evidence = changes.map((value) => at(configured, value));
  return warning('RestartPending', message, evidence);
}

/** A spec that is not known was changed before it was first read. */
function isChanged(spec: LoadedSpec | undefined): boolean {
  return spec === undefined || spec.changed;
}

export function changedSettings(loaded: Runtime, configured: Runtime): readonly string[] {
  const options = new Set([...Object.keys(loaded.options), ...Object.keys(configured.options)]);
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['runtime_type', loaded.runtimeType, configured.runtimeType],
    ['runtime_path', loaded.runtimePath, configured.runtimePath],
    ['snapshotter', loaded.snapshotter, configured.snapshotter],
    ['pod_annotations', loaded.podAnnotations, configured.podAnnotations],
    ['base_runtime_spec', loaded.baseRuntimeSpec, configured.baseRuntimeSpec],
    ['cni_conf_dir', loaded.cniConfDir, configured.cniConfDir],
    ['io_type', loaded.ioType, configured.ioType],
    ...[...options].sort().map((key) => [key, loaded.options[key], configured.options[key]] as const),
  ];
  return pairs
    .filter(([, now, then]) => printed(now) !== printed(then))
    .map(([key, now, then]) => `${key} is ${printed(now)} and becomes ${printed(then)}`);
}

/** containerd treats an absent option like Go's zero value. */
function printed(value: unknown): string {
  const isZero = value === undefined || value === null || value === '' || value === false || value === 0;
  return isZero ? '""' : JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? String(item) : item));
}
