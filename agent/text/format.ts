import type { Facts, Finding } from '../finding.ts';
import type { Outcome } from '../proof/outcome.ts';
import type { Verdict } from '../verdict.ts';

/** How something stands, for the class of its element. */
export type Tone = 'pass' | 'fail' | 'warning' | 'unknown' | 'skipped';

/** The tone of a whole verdict. */
export type StatusTone = Exclude<Tone, 'warning' | 'skipped'>;

/** The symbol and the word of each tone: colour alone tells nothing. */
export const MARKS: Readonly<Record<Tone, readonly [symbol: string, word: string]>> = {
  pass: ['✓', 'pass'],
  fail: ['✗', 'fail'],
  warning: ['!', 'warning'],
  unknown: ['?', 'unknown'],
  skipped: ['-', 'skipped'],
};

/** The tones in the order of what a person must see first. */
export const TONES: readonly Tone[] = ['fail', 'warning', 'unknown', 'skipped', 'pass'];

/** The tone of a proof by how it ended. */
export const PROOF_TONES: Readonly<Record<Outcome['kind'], Tone>> = {
  proven: 'pass',
  failed: 'fail',
  stuck: 'fail',
  interrupted: 'unknown',
  slow: 'unknown',
  inconclusive: 'unknown',
};

/** The tone and the headline of each status. */
export const HEADLINES: Readonly<Record<Verdict['status'], readonly [tone: StatusTone, headline: string]>> = {
  True: ['pass', 'gVisor works here'],
  False: ['fail', 'gVisor does not work here'],
  Unknown: ['unknown', 'Cannot tell whether gVisor works here'],
};

/** The tone of a finding: a fault that only explains is a warning as long as sandboxes boot. */
export function toneOf(finding: Finding, proven: boolean): Tone {
  if (finding.status !== 'fail') return finding.status;
  if (finding.severity === 'blocker') return 'fail';
  return finding.severity === 'warning' || proven ? 'warning' : 'fail';
}

/** Milliseconds as seconds with two digits, or as whole milliseconds below one second. */
export function shortTime(ms: number): string {
  return ms < 999.5 ? `${Math.round(ms)} ms` : seconds(ms);
}

/** Milliseconds as seconds, such as "0.84 s". */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** How long something lasted, in its two largest units: "3 d 4 h", "2 min 5 s". */
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
  cpu: 'Processor',
  architecture: 'Architecture',
  cores: 'Cores',
  virtualization: 'Virtualization',
  memoryBytes: 'Memory',
};

/** Facts with a name and a value for people; known ones in a fixed order, others behind under their own key. */
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
  return value;
}

/** A text of at most so many characters. It keeps the end, because an error ends with its root cause, and some of the beginning. */
export function shorten(text: string, most: number): string {
  if (text.length <= most) return text;
  const head = Math.floor(most / 3);
  return `${text.slice(0, head)} … ${text.slice(text.length - (most - head - 3))}`;
}

/** A text whose ids of sandboxes and containers have twelve digits, as `crictl` and `ctr` accept and show them. */
export function shortIds(text: string): string {
  return text.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, '$1');
}

/** Lines of at most so many characters, each with its indent; a word that is longer has a line of its own. */
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

/** An instant for people, in UTC to the second. */
export function inWords(at: string): string {
  return at.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC');
}
