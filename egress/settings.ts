import { isIP } from 'node:net';
import { type Env, type Setting, SettingsReader } from '../lib/base/settings.ts';
import { MAX_TARGETS, TARGET_NAME } from '../lib/report/egress-message.ts';
import type { Target } from './attempt.ts';

export const EGRESS_SETTINGS = {
  TARGETS: {
    fallback: '',
    meaning:
      'What must be closed: `NAME=ADDRESS:PORT`, separated by spaces; addresses of IPv4 or IPv6, no names.',
  },
  REFUSED: {
    fallback: 'open',
    meaning:
      'What a refusal says: `open`, because something answered; `closed` where policies reject, and each target is known to listen.',
  },
  TRY_FOR: {
    fallback: '5s',
    meaning: 'How long a new sandbox tries all targets again and again.',
    bounds: [100, 60_000],
  },
  INTERVAL: { fallback: '10s', meaning: 'How often they are tried after that.', bounds: [100, 60_000] },
  LIFETIME: {
    fallback: '615s',
    meaning:
      'After which the sandbox ends itself. The kubelet starts one that lived for ten minutes again at once.',
    bounds: [1_000, 900_000],
  },
} as const satisfies Readonly<Record<string, Setting>>;

export type EgressConfig = Readonly<ReturnType<typeof parseEgressConfig>['config']>;

/** `problems` has one line each; the config is usable only if it is empty. */
export function parseEgressConfig(env: Env) {
  const settings = new SettingsReader(env, EGRESS_SETTINGS);
  const entries = (settings.text('TARGETS') ?? '').split(/\s+/);
  const targets = entries.map(parseTarget);
  const wrong = entries.filter((_, index) => targets[index] === undefined);
  const names = new Set(targets.map((target) => target?.name));
  const config = {
    targets: targets.filter((target) => target !== undefined),
    isRefusedOpen: settings.matching('REFUSED', /^(open|closed)$/, 'open or closed') === 'open',
    forMs: settings.duration('TRY_FOR'),
    intervalMs: settings.duration('INTERVAL'),
    lifetimeMs: settings.duration('LIFETIME'),
  };
  const problems = [
    ...wrong.map((each) => `TARGETS has "${each}", which is not NAME=ADDRESS:PORT with an IP address`),
    ...(names.size < targets.length ? ['TARGETS has a name twice'] : []),
    ...(targets.length > MAX_TARGETS ? [`TARGETS has more than ${MAX_TARGETS}`] : []),
    ...settings.problems,
  ];
  return { config, problems };
}

/** An address of IPv6 needs no brackets, because the field `status.hostIP` has none. */
function parseTarget(text: string): Target | undefined {
  const [, name = '', host = '', port] = /^([^=]*)=\[?([^[\]]*)\]?:(\d{1,5})$/.exec(text) ?? [];
  if (!TARGET_NAME.test(name) || isIP(host) === 0 || Number(port) > 65_535) return undefined;
  return { name, host, port: Number(port) };
}
