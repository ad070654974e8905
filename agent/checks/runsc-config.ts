import { at, type CheckResult, error, pass, skip, warning } from '../../lib/checks/finding.ts';
import { optionOf } from '../../lib/containerd/config.ts';
import { isRuncType } from '../../lib/runsc/program.ts';
import type { CheckInputs } from './check.ts';

/** https://github.com/containerd/containerd/blob/v2.4.2/api/types/runtimeoptions/v1/api.proto */
const SHIM_OPTIONS = ['typeurl', 'configpath', 'configbody'];
/** https://github.com/google/gvisor/blob/master/pkg/shim/v1/runsc/options.go */
const OPTIONS_TYPE = 'io.containerd.runsc.v1.options';

export async function checkRunscConfig(inputs: CheckInputs): Promise<CheckResult> {
  const { handler } = inputs.sources;
  const runtime = await inputs.runtime();
  if (runtime.seen === 'assumed') return skip(`There is no handler "${handler}"`);
  if (isRuncType(runtime.runtimeType)) return skip(`The handler "${handler}" does not use gVisor's shim`);
  const unread = Object.keys(runtime.options).filter((key) => !SHIM_OPTIONS.includes(key.toLowerCase()));
  const unreadOptions = unread.map((value) => at(runtime, value));
  const configPath = optionOf(runtime, 'ConfigPath');
  if (!configPath) {
    if (unread.length === 0) return pass('The handler has no ConfigPath: the shim uses its defaults');
    const message = `The handler has no ConfigPath, and gVisor's shim does not read its options ${unread.join(', ')}`;
    return warning('OptionIgnored', message, unreadOptions);
  }
  const typeUrl = optionOf(runtime, 'TypeUrl');
  if (typeUrl !== OPTIONS_TYPE) {
    const message = `The handler has a ConfigPath, and its TypeUrl is "${typeUrl}" instead of "${OPTIONS_TYPE}": the shim refuses it`;
    return error('RunscConfigInvalid', message, [at(runtime, `TypeUrl "${typeUrl}"`)]);
  }
  if (!configPath.startsWith('/')) {
    const message = `ConfigPath "${configPath}" is not absolute, so the shim looks for it in a directory that changes`;
    return error('RunscConfigInvalid', message, [at(runtime, configPath)]);
  }
  const config = await inputs.runscConfig();
  if (config.fault) {
    const { line, problem } = config.fault;
    const message = `The shim starts no sandbox with its configuration file: ${problem}`;
    return error('RunscConfigInvalid', message, [at({ file: configPath, line }, problem)]);
  }
  const ignored = [
    ...unreadOptions,
    ...[...config.unknownKeys].map(([value, line]) => at({ file: configPath, line }, value)),
  ];
  if (ignored.length > 0) {
    const names = ignored.map(({ value }) => value).join(', ');
    return warning('OptionIgnored', `gVisor's shim does not read ${names}`, ignored);
  }
  return pass(`The shim reads "${configPath}"`, [{ file: configPath, value: `${config.flags.size} flags` }]);
}
