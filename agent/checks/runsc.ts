import { at, type CheckResult, error, pass } from '../../lib/checks/finding.ts';
import { whyNotRunnable } from '../../lib/host/program.ts';
import { DEFAULT_PLATFORM } from '../../lib/runsc/config.ts';
import type { CheckInputs } from './check.ts';
import { notFound } from './shim.ts';

/** runsc re-executes itself as nobody: https://gvisor.dev/docs/user_guide/faq/ */
const READ_AND_EXECUTE_BY_EVERYONE = 0o555;

export async function checkRunsc(inputs: CheckInputs): Promise<CheckResult> {
  const config = await inputs.runscConfig();
  const path = await inputs.runsc();
  const named = at({ file: config.file }, `binary_name ${config.binaryName}`);
  if (path === undefined) return notFound(inputs, 'RunscNotFound', config.binaryName, [named]);
  const why = await whyNotRunnable(inputs.sources.host, path, READ_AND_EXECUTE_BY_EVERYONE);
  if (why) {
    const message = `"${path}" is not readable and executable by everyone: ${why.problem}`;
    return error('RunscNotExecutable', message, [why.evidence]);
  }
  const seen = pass(`runsc is "${path}"`, [{ file: path, value: 'executable by everyone' }]);
  return { ...seen, facts: { platform: config.flags.get('platform') ?? DEFAULT_PLATFORM } };
}
