import type { Evidence, Finding } from '../checks/finding.ts';
import type { Outcome } from '../proof/outcome.ts';
import type { Verdict } from './verdict.ts';

export type Tone = 'pass' | 'fail' | 'warning' | 'unknown' | 'skipped';

/** Because colour alone is not accessible. */
export const MARKS: Readonly<Record<Tone, string>> = {
  pass: '✓',
  fail: '✗',
  warning: '!',
  unknown: '?',
  skipped: '-',
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

export const HEADLINES: Readonly<Record<Verdict['status'], readonly [tone: Tone, headline: string]>> = {
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

/** Such as "0.84 s". */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
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
