import type { Evidence, Finding } from '../node/checks/finding.ts';
import type { Facts } from '../node/host/system.ts';
import type { Outcome } from '../node/proof/outcome.ts';
import type { Verdict } from './verdict.ts';

/** Also a CSS class. */
export type Tone = 'pass' | 'fail' | 'warning' | 'unknown' | 'skipped';

export type StatusTone = Exclude<Tone, 'warning' | 'skipped'>;

/** Because colour alone is not accessible. */
export const MARKS: Readonly<Record<Tone, readonly [symbol: string, word: string]>> = {
  pass: ['✓', 'pass'],
  fail: ['✗', 'fail'],
  warning: ['!', 'warning'],
  unknown: ['?', 'unknown'],
  skipped: ['-', 'skipped'],
};

/** Most urgent first. */
export const TONES: readonly Tone[] = ['fail', 'warning', 'unknown', 'skipped', 'pass'];

export const PROOF_TONES: Readonly<Record<Outcome['kind'], Tone>> = {
  proven: 'pass',
  failed: 'fail',
  stuck: 'fail',
  interrupted: 'unknown',
  slow: 'unknown',
  inconclusive: 'unknown',
};

export const HEADLINES: Readonly<Record<Verdict['status'], readonly [tone: StatusTone, headline: string]>> = {
  True: ['pass', 'gVisor works here'],
  False: ['fail', 'gVisor does not work here'],
  Unknown: ['unknown', 'Cannot tell whether gVisor works here'],
};

/** A failed check that does not decide is a warning while sandboxes boot. */
export function toneOf(finding: Finding, proven: boolean): Tone {
  if (finding.status !== 'fail') return finding.status;
  if (finding.severity === 'blocker') return 'fail';
  return finding.severity === 'warning' || proven ? 'warning' : 'fail';
}

/** Seconds with two digits, or whole milliseconds below one second. */
export function shortTime(ms: number): string {
  return ms < 999.5 ? `${Math.round(ms)} ms` : seconds(ms);
}

/** Such as "0.84 s". */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** Two units: "3 d 4 h", "2 min 5 s". */
export function longTime(ms: number): string {
  const total = Math.max(0, Math.round(ms / 1000));
  const units = [
    [Math.floor(total / 86_400), 'd'],
    [Math.floor(total / 3600) % 24, 'h'],
    [Math.floor(total / 60) % 60, 'min'],
    [total % 60, 's'],
  ] as const;
  const first = units.findIndex(([count]) => count > 0);
  if (first === -1) return '0 s';
  return units
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ');
}

const LABELS: Readonly<Record<string, string>> = {
  os: 'System',
  kernel: 'Kernel',
  distribution: 'Distribution',
  containerd: 'containerd',
  runsc: 'runsc',
  platform: 'gVisor platform',
  nvidiaDriver: 'NVIDIA driver',
  gpu: 'NVIDIA driver in gVisor',
  cpu: 'Processor',
  architecture: 'Architecture',
  cores: 'Cores',
  virtualization: 'Virtualization',
  memoryBytes: 'Memory',
};

/** Known ones in a fixed order, then others under their own key. */
export function describeFacts(facts: Facts): (readonly [label: string, value: string])[] {
  const keys = new Set([...Object.keys(LABELS), ...Object.keys(facts)]);
  return [...keys].flatMap((key) => {
    const value = facts[key];
    return value === undefined ? [] : [[LABELS[key] ?? key, describeFact(key, value)] as const];
  });
}

function describeFact(key: string, value: string): string {
  if (key === 'memoryBytes' && Number(value) > 0) return `${(Number(value) / 2 ** 30).toFixed(1)} GiB`;
  if (key === 'virtualization')
    return value === 'true' ? 'offered by the processor' : 'not offered by the processor';
  if (key === 'gpu') return value === 'true' ? 'supported' : 'not supported';
  return value;
}

/** Such as "/etc/containerd/config.toml:19: io.containerd.runsc.v1". */
export function evidenceLine({ file, line, value }: Evidence): string {
  if (file === undefined) return value;
  return `${file}${line === undefined ? '' : `:${line}`}: ${value}`;
}

/** An error ends with its root cause. */
export function truncateMiddle(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  const head = Math.floor(maxLength / 3);
  return `${text.slice(0, head)} … ${text.slice(text.length - (maxLength - head - 3))}`;
}

/** Leaves twelve digits, which `crictl` and `ctr` show and accept. */
export function shortIds(text: string): string {
  return text.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, '$1');
}

/** The first line has an indent of its own; a longer word gets a line of its own. */
export function wrap(text: string, width: number, first = '', rest = first): readonly string[] {
  const lines: string[] = [];
  let line: string | undefined;
  for (const word of text.split(/\s+/).filter((each) => each !== '')) {
    if (line !== undefined && line.length + 1 + word.length > width) {
      lines.push(line);
      line = rest + word;
    } else line = line === undefined ? first + word : `${line} ${word}`;
  }
  return [...lines, line ?? first];
}

/** Shorter texts may be repeated. */
const MIN_DEDUPED_LENGTH = 60;
/** Longer texts are only compared with the start and the end of earlier ones. */
const MAX_SEARCHED_LENGTH = 250;

/** Shows each long text once, whichever sandbox ids it names. */
export class Dedupe {
  readonly #texts: string[] = [];

  /** The text, or a reference to its first occurrence. */
  once(text: string): string {
    if (text.length > MIN_DEDUPED_LENGTH && this.has(text)) return 'as said above';
    this.add(text);
    return text;
  }

  /** True also if it is part of an earlier one. */
  has(text: string): boolean {
    const wanted = withoutIds(text);
    // V8 searches for longer texts in quadratic time, and a compromised node chooses them.
    const isShort = wanted.length <= MAX_SEARCHED_LENGTH;
    return this.#texts.some((earlier) =>
      isShort ? earlier.includes(wanted) : earlier.startsWith(wanted) || earlier.endsWith(wanted),
    );
  }

  add(text: string): void {
    this.#texts.push(withoutIds(text));
  }
}

/** Without containerd's error at its end, which the proof shows. */
export function causeOf({ message }: Verdict, proof: Outcome): string {
  const error = `; ${withoutIds(proof.message)}`;
  return withoutIds(message).endsWith(error) ? message.slice(0, -error.length) : message;
}

/** Each attempt has a sandbox with another id. */
function withoutIds(text: string): string {
  return text.replace(/\b[0-9a-f]{64}\b/g, 'x'.repeat(64));
}
