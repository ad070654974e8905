import { optionOf, readHandler } from '../containerd/handler.ts';
import { advise, block, type Evidence, pass, skip } from '../finding.ts';
import { readRunscConfig } from '../runsc/config.ts';
import { weakFlags } from '../runsc/isolation-flags.ts';
import type { Check, Sources } from './check.ts';

const SECCOMP_FILTER = 2;

/** Do the flags in force, and the filter of system calls, leave the sandbox's isolation whole? The probe's process tells. */
export const isolation: Check = {
  id: 'isolation',
  title: 'Nothing weakens the sandbox',
  required: () => true,
  async inspect(sources, signal) {
    const { witness } = sources;
    if (witness?.flags === undefined) return skip('No sandbox of gVisor was started');
    const process = `process ${witness.pid} "${witness.argv[0]}"`;
    if (witness.seccomp !== SECCOMP_FILTER) {
      const message =
        'The sandbox runs without a seccomp filter, so that an escape from it reaches every system call';
      return block('IsolationWeakened', message, [{ value: `${process}: Seccomp ${witness.seccomp}` }]);
    }
    const weak = weakFlags(new Map(Object.entries(witness.flags)));
    const [worst] = weak;
    if (!worst)
      return pass('No flag in force weakens the sandbox', [{ value: `${process}, with a seccomp filter` }]);
    const where = await whereSet(sources, signal).catch(() => () => ({}));
    const evidence = weak.map(({ flag, value, why }) => ({
      ...where(flag),
      value: `${flag} = "${value}": ${why}`,
    }));
    const named = weak.map(({ flag, value }) => `${flag}=${value}`).join(', ');
    const message = `Flags of runsc weaken the sandbox (${named}): ${worst.why}`;
    return worst.weight === 'decides'
      ? block('IsolationWeakened', message, evidence)
      : advise('IsolationWeakened', message, evidence);
  },
};

/** Where a flag is set in the shim's configuration; nothing for one that comes from elsewhere, such as a wrapper. */
async function whereSet(
  sources: Sources,
  signal: AbortSignal,
): Promise<(flag: string) => Pick<Evidence, 'file' | 'line'>> {
  const path = optionOf(await readHandler(sources, signal), 'ConfigPath');
  const { file, lines } = path === '' ? {} : await readRunscConfig(sources.host, path, signal);
  return (flag) => {
    const line = lines?.get(flag);
    return file === undefined || line === undefined ? {} : { file, line };
  };
}
