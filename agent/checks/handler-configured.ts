import type { ContainerdConfig, IgnoredMention } from '../containerd/config.ts';
import { advise, at, type CheckResult, type Evidence, fail, pass, unknown } from '../finding.ts';
import type { Reason } from '../reasons.ts';
import type { Check } from './check.ts';

const MAX_NAMES = 20;

/** Would a containerd that starts now have the handler? */
export const handlerConfigured: Check = {
  id: 'handler-configured',
  title: "The handler is in containerd's configuration on disk",
  async inspect(reading) {
    const { handler, containerdConfig: root, edit } = reading.sources;
    const config = await reading.config();
    const { fault, runtimes } = config;
    if (fault) {
      const message = `containerd would not start pods with what is on disk: ${fault.problem}${rulesNote(config)}`;
      return fail('ContainerdConfigInvalid', message, [at(fault, fault.problem)]);
    }
    const ignored = config.ignored.filter((mention) => mention.handler === handler);
    const configured = runtimes.get(handler);
    if (configured) {
      const evidence: Evidence[] = [at(configured, configured.runtimeType)];
      if (!configured.runtimeType) {
        const message = `The handler "${handler}" names no runtime_type, so containerd creates no container with it`;
        return fail('HandlerNotConfigured', message, evidence);
      }
      // A file that nothing imports is often a backup, and is no reason to warn while the handler is there.
      const without = ignored.filter(({ isLoaded }) => isLoaded);
      if (without[0]) {
        const message = `The handler "${handler}" is configured, but ${place(without[0])} has no effect: ${without[0].why}`;
        return advise('HandlerInIgnoredTable', message, [...evidence, ...without.map(toEvidence)]);
      }
      return pass(`The handler "${handler}" is configured${rulesNote(config)}`, evidence);
    }
    if (ignored[0]) {
      const message = `The handler "${handler}" is in ${place(ignored[0])}, which containerd does not read: ${ignored[0].why}${rulesNote(config)}`;
      return absent(config, 'HandlerInIgnoredTable', message, ignored.map(toEvidence));
    }
    if (config.files.length === 0) {
      const what = config.rulesAssumed
        ? 'and a containerd whose release is not known may read another'
        : 'so containerd has only its built-in handler "runc"';
      const message = `"${root}" does not exist, ${what}`;
      const evidence = [{ file: root, value: 'absent' }];
      return { ...absent(config, 'HandlerNotConfigured', message, evidence), where: edit };
    }
    const names = [...runtimes.keys()]
      .slice(0, MAX_NAMES)
      .map((name) => `"${name}"`)
      .join(', ');
    const other = [...runtimes].find(([, { runtimeType }]) => /runsc/.test(runtimeType))?.[0];
    const hint =
      other === undefined ? '' : `, of which "${other}" is gVisor's: set HANDLER to it if pods use it`;
    const message = `No file configures the handler "${handler}"; there are ${names}${hint}${rulesNote(config)}`;
    const read = config.files.map((file) => ({ file, value: 'read' }));
    return { ...absent(config, 'HandlerNotConfigured', message, read), where: edit };
  },
};

/** Other rules, and a containerd that is told another file, may find what these do not: an absence is unknown then. */
function absent(
  config: ContainerdConfig,
  reason: Reason,
  message: string,
  evidence: Evidence[],
): CheckResult {
  return config.rulesAssumed ? unknown(reason, message, evidence) : fail(reason, message, evidence);
}

function place({ file, line }: IgnoredMention): string {
  return `"${file}" line ${line}`;
}

function toEvidence(mention: IgnoredMention): Evidence {
  return at(mention, mention.why);
}

function rulesNote(config: ContainerdConfig): string {
  return config.rulesAssumed
    ? ` (read by the rules of containerd ${config.rules}, because its release is not known)`
    : '';
}
