import { advise, at, block, pass, skip } from '../finding.ts';
import { DEFAULT_RUNSC_CONFIG } from '../runsc/config.ts';
import { weakFlags } from '../runsc/isolation-flags.ts';
import type { Check } from './check.ts';

const SECCOMP_FILTER = 2;

/** Do the flags in force, and the filter of system calls, leave the sandbox's isolation whole? The probe's process tells. */
export const isolation: Check = {
  id: 'isolation',
  title: 'Nothing weakens the sandbox',
  required: () => true,
  async inspect(reading, witness) {
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
    // A flag that comes from elsewhere, such as a wrapper, stands in no file.
    const { file, lines } = await reading.runscConfig().catch(() => DEFAULT_RUNSC_CONFIG);
    const evidence = weak.map(({ flag, value, why }) => {
      const line = lines.get(flag);
      return at(line === undefined ? {} : { file, line }, `${flag} = "${value}": ${why}`);
    });
    const named = weak.map(({ flag, value }) => `${flag}=${value}`).join(', ');
    const message = `Flags of runsc weaken the sandbox (${named}): ${worst.why}`;
    const say = worst.weight === 'decides' ? block : advise;
    return say('IsolationWeakened', message, evidence);
  },
};
