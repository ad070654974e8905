import { fail, pass, unknown } from '../finding.ts';
import { readGvisorFiles } from '../host/gvisor-files.ts';
import { whyNotRunnable } from '../host/runnable.ts';
import type { Check } from './catalogue.ts';

/** runsc re-executes itself as nobody: https://gvisor.dev/docs/user_guide/faq/ */
const DEFAULT_PLATFORM = 'systrap';
const READ_AND_EXECUTE_BY_EVERYONE = 0o555;

/** Is runsc where the shim looks for it, and a program that everyone may read and execute? */
export const runsc: Check = {
  id: 'runsc',
  title: 'runsc is installed and executable',
  async look(sources, signal) {
    const { config, runsc: path, searchPath } = await readGvisorFiles(sources, signal);
    const named = {
      ...(config.file !== undefined && { file: config.file }),
      value: `binary_name ${config.binaryName}`,
    };
    const where = { value: `${searchPath.source}: ${searchPath.path.join(':')}` };
    if (path === undefined) {
      const isPath = config.binaryName.startsWith('/');
      const message = `"${config.binaryName}" is not there${isPath ? '' : ` in ${searchPath.source}`}`;
      const missing =
        isPath || !searchPath.isGuess ? fail('RunscNotFound', message) : unknown('CheckFailed', message);
      return { ...missing, evidence: [named, where] };
    }
    const why = await whyNotRunnable(sources.host, path, { mode: READ_AND_EXECUTE_BY_EVERYONE, signal });
    if (why) {
      const message = `"${path}" is not readable and executable by everyone: ${why.problem}`;
      return fail('RunscNotExecutable', message, [why.evidence]);
    }
    const seen = pass(`runsc is "${path}"`, [{ file: path, value: 'executable by everyone' }]);
    return { ...seen, facts: { platform: config.flags.get('platform') ?? DEFAULT_PLATFORM } };
  },
};
