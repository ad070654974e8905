import type { ContainerdConfig, IgnoredMention } from '../containerd/config.ts';
import type { Reason } from '../reasons.ts';
import type { Check } from './check.ts';
import { at, type CheckResult, type Evidence, error, pass, unknown, warning } from './finding.ts';

const MAX_NAMES = 20;

export const handlerConfigured: Check = {
  id: 'handler-configured',
  title: "The handler is in containerd's configuration on disk",
  async inspect(inputs) {
    const { handler, containerdConfig: root, edit } = inputs.sources;
    const config = await inputs.config();
    const { fault, runtimes } = config;
    if (fault) {
      const message = `containerd could not start pods with its configuration on disk: ${fault.problem}${rulesNote(config)}`;
      return error('ContainerdConfigInvalid', message, [at(fault, fault.problem)]);
    }
    const ignored = config.ignored.filter((mention) => mention.handler === handler);
    const configured = runtimes.get(handler);
    if (configured) {
      const evidence: Evidence[] = [at(configured, configured.runtimeType)];
      if (!configured.runtimeType) {
        const message = `The handler "${handler}" names no runtime_type, so containerd creates no container with it`;
        return error('HandlerNotConfigured', message, evidence);
      }
      // A file that is not imported is often a backup.
      const ineffective = ignored.filter(({ isLoaded }) => isLoaded);
      if (ineffective[0]) {
        const message = `The handler "${handler}" is configured, but ${place(ineffective[0])} has no effect: ${ineffective[0].why}`;
        return warning('HandlerInIgnoredTable', message, [...evidence, ...ineffective.map(toEvidence)]);
      }
      return pass(`The handler "${handler}" is configured${rulesNote(config)}`, evidence);
    }
    if (ignored[0]) {
      const message = `The handler "${handler}" is in ${place(ignored[0])}, which containerd does not read: ${ignored[0].why}${rulesNote(config)}`;
      return absent(config, 'HandlerInIgnoredTable', message, ignored.map(toEvidence));
    }
    if (config.files.length === 0) {
      const consequence = config.rulesAssumed
        ? 'and a containerd whose release is not known may read another'
        : 'so containerd has only its built-in handler "runc"';
      const message = `"${root}" does not exist, ${consequence}`;
      const evidence = [{ file: root, value: 'absent' }];
      return { ...absent(config, 'HandlerNotConfigured', message, evidence), where: edit };
    }
    const names = [...runtimes.keys()]
      .slice(0, MAX_NAMES)
      .map((name) => `"${name}"`)
      .join(', ');
    const other = [...runtimes].find(([, { runtimeType }]) => /runsc/.test(runtimeType))?.[0];
    const hint =
      other === undefined ? '' : `, of which "${other}" is gVisor's: set HANDLERS to it if pods use it`;
    const message = `No file configures the handler "${handler}"; there are ${names}${hint}${rulesNote(config)}`;
    const read = config.files.map((file) => ({ file, value: 'read' }));
    return { ...absent(config, 'HandlerNotConfigured', message, read), where: edit };
  },
};

/** Unknown while containerd's release, and so its rules, are unknown. */
function absent(
  config: ContainerdConfig,
  reason: Reason,
  message: string,
  evidence: Evidence[],
): CheckResult {
  return config.rulesAssumed ? unknown(reason, message, evidence) : error(reason, message, evidence);
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
