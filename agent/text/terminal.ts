import { CHECKS } from '../checks/checks.ts';
import type { PodsReport } from '../pods/pod.ts';
import type { Publisher, Report, Status } from '../report.ts';
import { sanitize } from '../sanitize.ts';
import {
  HEADLINES,
  inWords,
  MARKS,
  PROOF_TONES,
  shortIds,
  TONES,
  type Tone,
  toneOf,
  wrap,
} from './format.ts';
import { nextSteps, sinceOf } from './next-steps.ts';
import { describePods } from './pod-words.ts';
import { paint as paintOn, type Screen, type Style, TONE_COLORS } from './table.ts';
import { causeOf, Told } from './told.ts';

/** A row with its mark, or one that belongs to the row above. */
type Row = { readonly tone?: Tone; readonly text: string };

const BOOT_TITLE = "A sandbox boots, is gVisor's, and goes away";
const TITLES = new Map(CHECKS.map(({ id, title }) => [id, title]));

/** A report for people, what is wrong before what is right; a line is longer than the screen only where a word is. */
export function renderReport(report: Status, { colored, width }: Screen): string {
  const paint = (style: Style, text: string) => paintOn({ colored }, style, text);
  const lines = (text: string, first: string, rest: string) =>
    wrap(shortIds(sanitize(text)), width, first, rest);
  /** Lines of which the first few words are painted. */
  const begun = (words: string, style: Style, [first = '', ...rest]: readonly string[]) => [
    first.replace(words, () => paint(style, words)),
    ...rest,
  ];
  const row = ({ tone, text }: Row) => {
    if (tone === undefined) return lines(text, '    ', '      ');
    const [symbol] = MARKS[tone];
    const [first = '', ...rest] = lines(text, `  ${symbol} `, '    ');
    const quiet = (line: string) => (tone === 'pass' ? paint('dim', line) : line);
    return [`  ${paint(TONE_COLORS[tone], symbol)} ${quiet(first.slice(4))}`, ...rest.map(quiet)];
  };
  const told = new Told();
  const { node, handler, proof, evaluation, pods } = report;
  const [tone, headline] = HEADLINES[evaluation.verdict.status];
  const since = evaluation.verdict.status === report.verdict.status ? sinceOf(report) : undefined;
  const subject = `${node}, handler "${handler}"${since === undefined ? '' : `, since ${inWords(since)}`}`;
  const why = `${evaluation.verdict.reason}: ${told.tell(causeOf(evaluation.verdict, proof))}`;
  const steps = nextSteps(report).flatMap(({ reason, remedy }) =>
    begun(reason, 'bold', lines(`${reason}: ${remedy}`, '  ', '    ')),
  );
  const parts = [
    [
      paint([TONE_COLORS[tone], 'bold'], headline),
      ...lines(subject, '', '').map((line) => paint('dim', line)),
    ],
    begun(evaluation.verdict.reason, 'bold', lines(why, '  ', '  ')),
    checkRows(report, told).flatMap(row),
    pods === undefined ? [] : podRows(pods).flatMap(row),
    steps.length === 0 ? [] : [paint('bold', 'What to do next'), ...steps],
  ];
  return parts
    .filter((part) => part.length > 0)
    .map((part) => `\n${part.join('\n')}\n`)
    .join('');
}

function checkRows({ findings, proof }: Report, told: Told): readonly Row[] {
  const checks = findings.map((finding) => {
    const title = TITLES.get(finding.check) ?? finding.check;
    return { tone: toneOf(finding, proof.kind === 'proven'), title, message: finding.message };
  });
  return [...checks, { tone: PROOF_TONES[proof.kind], title: BOOT_TITLE, message: proof.message }]
    .sort((a, b) => TONES.indexOf(a.tone) - TONES.indexOf(b.tone))
    .map(({ tone, title, message }) => ({ tone, text: `${title}: ${told.tell(message)}` }));
}

const SHOWN = 20;

function podRows(pods: PodsReport): readonly Row[] {
  const { tone, headline, remedy, rest } = describePods(pods);
  const wrong = [...pods.violating, ...pods.weakened];
  const hidden = wrong.length - SHOWN;
  const named = wrong.slice(0, SHOWN).map((pod) => `${pod.namespace}/${pod.name}: ${pod.evidence}`);
  const more = [hidden > 0 ? `and ${hidden} more` : undefined, remedy, rest];
  const below = [...named, ...more].flatMap((text) => (text === undefined ? [] : [{ text }]));
  return [{ tone, text: headline }, ...below];
}

/** Prints the table whenever the published verdict is another than before, and where the page is. */
export class TerminalPublisher implements Publisher {
  readonly #options: TerminalOptions;
  #last = '';

  constructor(options: TerminalOptions) {
    this.#options = options;
  }

  publish(report: Report): void {
    const key = `${report.verdict.status} ${report.verdict.reason}`;
    if (key === this.#last) return;
    this.#last = key;
    const { write, screen, complete, page } = this.#options;
    const address = page();
    write(renderReport(complete(report), screen()));
    write(address === undefined ? '\n' : `\nThis and more in a browser: ${address}\n\n`);
  }
}

/** What a terminal publisher is made of; it asks for all that may have changed. */
export type TerminalOptions = {
  readonly write: (text: string) => void;
  readonly screen: () => Screen;
  /** Adds what is known beside looks. */
  readonly complete: (report: Report) => Status;
  /** The address of the page; undefined where there is none. */
  readonly page: () => string | undefined;
};
