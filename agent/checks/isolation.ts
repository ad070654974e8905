import { advise, pass, refuse, unknown } from '../finding.ts';
import { isRuncType, readGvisorFiles } from '../host/gvisor-files.ts';
import { weakFlags } from '../host/isolation-flags.ts';
import type { Check } from './catalogue.ts';

/** Do the flags that the shim passes to runsc leave the sandbox's isolation whole? */
export const isolation: Check = {
  id: 'isolation',
  title: 'No flag weakens the sandbox',
  guards: () => true,
  async look(sources, signal) {
    const { config, runtime } = await readGvisorFiles(sources, signal);
    if (runtime.seen === 'assumed' || isRuncType(runtime.runtimeType)) {
      return unknown('NothingToJudge', `No handler "${sources.handler}" uses gVisor’s shim`);
    }
    // What cannot be parsed shows no flags; runsc-config says what is wrong with it.
    if (config.fault) throw new Error(`Cannot tell the flags of runsc: ${config.fault.problem}`);
    const weak = weakFlags(config.flags);
    const [worst] = weak;
    if (!worst) return pass('No flag of runsc weakens the sandbox');
    const evidence = weak.map(({ flag, value, why }) => {
      const line = config.lines.get(flag);
      const { file } = config;
      return {
        ...(file !== undefined && { file }),
        ...(line !== undefined && { line }),
        value: `${flag} = "${value}": ${why}`,
      };
    });
    const named = weak.map(({ flag, value }) => `${flag}=${value}`).join(', ');
    const message = `Flags of runsc weaken the sandbox (${named}): ${worst.why}`;
    return worst.weight === 'decides'
      ? refuse('IsolationWeakened', message, evidence)
      : advise('IsolationWeakened', message, evidence);
  },
};
