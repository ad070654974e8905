import {
  at,
  type CheckResult,
  type Evidence,
  error,
  pass,
  unknown,
  warning,
} from '../../lib/checks/finding.ts';
import type { IgnoredMention } from '../../lib/containerd/config.ts';
import type { CheckInputs } from './check.ts';

const MAX_NAMES = 20;

export async function checkHandlerConfigured(inputs: CheckInputs): Promise<CheckResult> {
  const { handler, containerdConfig: root, edit } = inputs.sources;
  const config = await inputs.config();
  const { fault, rulesAssumed, runtimes } = config;
  const note = rulesAssumed
    ? ` (read by the rules of containerd ${config.rules}, because its release is not known)`
    : '';
  const absent = rulesAssumed ? unknown : error;
  if (fault) {
    const message = `containerd could not start pods with its configuration on disk: ${fault.problem}${note}`;
    return error('ContainerdConfigInvalid', message, [at(fault, fault.problem)]);
  }
  const ignored = config.ignored.filter((mention) => mention.handler === handler);
  const place = ({ file, line }: IgnoredMention) => `"${file}" line ${line}`;
  const toEvidence = (mention: IgnoredMention) => at(mention, mention.why);
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
    return pass(`The handler "${handler}" is configured${note}`, evidence);
  }
  if (ignored[0]) {
    const message = `The handler "${handler}" is in ${place(ignored[0])}, which containerd does not read: ${ignored[0].why}${note}`;
    return absent('HandlerInIgnoredTable', message, ignored.map(toEvidence));
  }
  if (config.files.length === 0) {
    const consequence = rulesAssumed
      ? 'and a containerd whose release is not known may read another'
      : 'so containerd has only its built-in handler "runc"';
    const message = `"${root}" does not exist, ${consequence}`;
    const evidence = [{ file: root, value: 'absent' }];
    return { ...absent('HandlerNotConfigured', message, evidence), where: edit };
  }
  const names = [...runtimes.keys()].slice(0, MAX_NAMES).map((name) => `"${name}"`);
  const other = [...runtimes].find(([, { runtimeType }]) => /runsc/.test(runtimeType))?.[0];
  const hint =
    other === undefined ? '' : `, of which "${other}" is gVisor's: set HANDLERS to it if pods use it`;
  const message = `No file configures the handler "${handler}"; there are ${names.join(', ')}${hint}${note}`;
  const read = config.files.map((file) => ({ file, value: 'read' }));
  return { ...absent('HandlerNotConfigured', message, read), where: edit };
}
