import { styleText } from 'node:util';
import { CHECKS } from '../checks/catalogue.ts';
import { REASONS } from '../reasons.ts';
import type { Report } from '../report.ts';
import type { Publisher } from './publisher.ts';
import { HEADLINES, MARKS, type Tone, toneOf } from './words.ts';

type Color = 'green' | 'red' | 'yellow' | 'dim' | 'bold';

const COLORS: Readonly<Record<Tone, Color>> = {
  pass: 'green',
  fail: 'red',
  warning: 'yellow',
  unknown: 'yellow',
};
const TITLES = new Map(CHECKS.map(({ id, title }) => [id, title]));
const TITLE_WIDTH = Math.max(...[...TITLES.values()].map((title) => title.length));

/** A report as a table for people; `colored` false gives plain text. */
export function renderReport(report: Report, colored: boolean): string {
  const paint = (color: Color, text: string) =>
    colored ? styleText(color, text, { validateStream: false }) : text;
  const line = (tone: Tone, title: string, message: string) =>
    `  ${paint(COLORS[tone], MARKS[tone][0])} ${title.padEnd(TITLE_WIDTH)} ${message}`;
  const { findings, proof, look } = report;
  const { status, reason, message } = look.verdict;
  const [tone, headline] = HEADLINES[status];
  const checks = findings.map((finding) => {
    const title = TITLES.get(finding.check) ?? finding.check;
    const told = finding.status === 'pass' ? paint('dim', finding.message) : finding.message;
    return line(toneOf(finding, proof.kind === 'proven'), title, told);
  });
  const faults = findings.flatMap((finding) => (finding.status === 'fail' ? [finding.reason] : []));
  const untried = proof.kind === 'proven' ? [] : [proof.reason];
  const next = [...new Set([reason, ...faults, ...untried])]
    .filter((word) => word !== 'SandboxProven')
    .map((word) => `  ${paint('bold', word)}: ${REASONS[word].remedy}`);
  return [
    '',
    `${paint(COLORS[tone], paint('bold', headline))} ${paint('dim', `(${report.node}, handler "${report.handler}", ${reason})`)}`,
    '',
    ...checks,
    line(PROOF_TONES[proof.kind], "A sandbox boots, is gVisor's, and goes away", proof.message),
    '',
    ...(status === 'True' ? [] : [`  ${message}`, '']),
    ...(next.length === 0 ? [] : [paint('bold', 'What to do next'), ...next, '']),
  ].join('\n');
}

const PROOF_TONES: Readonly<Record<Report['proof']['kind'], Tone>> = {
  proven: 'pass',
  failed: 'fail',
  stuck: 'fail',
  interrupted: 'unknown',
  slow: 'unknown',
  impossible: 'unknown',
};

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
