import { styleText } from 'node:util';
import { CHECKS } from '../checks/catalogue.ts';
import type { Finding } from '../finding.ts';
import { REASONS } from '../reasons.ts';
import type { Report } from '../report.ts';
import type { Publisher } from './publisher.ts';

type Color = 'green' | 'red' | 'yellow' | 'dim' | 'bold';

const MARKS = {
  pass: ['✓', 'green'],
  fail: ['✗', 'red'],
  unknown: ['?', 'yellow'],
  advice: ['!', 'yellow'],
} as const;

/** A report as a table for people; `colored` false gives plain text. */
export function renderReport(report: Report, colored: boolean): string {
  const paint = (color: Color, text: string) =>
    colored ? styleText(color, text, { validateStream: false }) : text;
  const titles = new Map(CHECKS.map(({ id, title }) => [id, title]));
  const lines = report.findings.map((finding) => {
    const [mark, color] = MARKS[kindOf(finding)];
    const title = (titles.get(finding.check) ?? finding.check).padEnd(52);
    return `  ${paint(color, mark)} ${title} ${finding.status === 'pass' ? paint('dim', finding.message) : finding.message}`;
  });
  const { verdict, reason, message } = { verdict: report.look.verdict.status, ...report.look.verdict };
  const headline = {
    True: 'gVisor works here',
    False: 'gVisor does not work here',
    Unknown: 'cannot tell whether gVisor works here',
  }[verdict];
  const color = ({ True: 'green', False: 'red', Unknown: 'yellow' } as const)[verdict];
  const proof =
    report.proof.kind === 'proven'
      ? MARKS.pass
      : report.proof.kind === 'failed' || report.proof.kind === 'stuck'
        ? MARKS.fail
        : MARKS.unknown;
  const remedies = new Set([
    reason,
    ...report.findings.flatMap((finding) =>
      finding.status === 'pass' || finding.status === 'unknown' ? [] : [finding.reason],
    ),
  ]);
  const next = [...remedies]
    .filter((word) => word !== 'SandboxProven')
    .map((word) => `  ${paint('bold', word)}: ${REASONS[word].remedy}`);
  return [
    '',
    `${paint(color, paint('bold', headline))} ${paint('dim', `(${report.node}, handler "${report.handler}", ${reason})`)}`,
    '',
    ...lines,
    `  ${paint(proof[1], proof[0])} ${'A sandbox boots, is gVisor’s, and goes away'.padEnd(52)} ${report.proof.message}`,
    '',
    ...(verdict === 'True' ? [] : [`  ${message}`, '']),
    ...(next.length === 0 ? [] : [paint('bold', 'What to do next'), ...next, '']),
  ].join('\n');
}

function kindOf(finding: Finding): keyof typeof MARKS {
  return finding.status === 'fail' && finding.weight === 'advises' ? 'advice' : finding.status;
}

/** Prints the table whenever the published verdict is another than before. */
export class TerminalPublisher implements Publisher {
  readonly name = 'terminal';
  readonly #write: (text: string) => void;
  readonly #colored: boolean;
  #last = '';

  constructor(write: (text: string) => void, colored: boolean) {
    this.#write = write;
    this.#colored = colored;
  }

  publish(report: Report): void {
    const key = `${report.verdict.status} ${report.verdict.reason}`;
    if (key === this.#last) return;
    this.#last = key;
    this.#write(`${renderReport(report, this.#colored)}\n`);
  }
}
