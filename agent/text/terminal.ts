import { sanitize } from '../../lib/base/sanitize.ts';
import { formatUtc } from '../../lib/base/utc.ts';
import { CHECKS } from '../../lib/node/checks/checks.ts';
import type { Installation } from '../../lib/node/host/installation.ts';
import { isOpen, type PodsReport } from '../../lib/node/pods/pod.ts';
import { remedyOf, type SandboxesReport } from '../../lib/node/sandboxes/problem.ts';
import {
  causeOf,
  Dedupe,
  HEADLINES,
  PROOF_TONES,
  shortIds,
  TONES,
  type Tone,
  toneOf,
  wrap,
} from '../../lib/report/format.ts';
import { describeInstallation } from '../../lib/report/installation.ts';
import { nextSteps, type Step, sinceOf } from '../../lib/report/next-steps.ts';
import type { HandlerReport, Report, Status } from '../../lib/report/report.ts';
import {
  markedLines,
  paint as paintOn,
  type Screen,
  type Style,
  TONE_COLORS,
} from '../../lib/report/table.ts';

/** A row without a tone continues the one above. */
type Row = { readonly tone?: Tone; readonly text: string };

const BOOT_TITLE = "A sandbox boots, is gVisor's, and goes away";
const TITLES = new Map(CHECKS.map(({ id, title }) => [id, title]));

/** Faults first; only a word that is longer than the screen exceeds its width. */
export function renderReport(report: Status, { colored, width }: Screen): string {
  const paint = (style: Style, text: string) => paintOn({ colored }, style, text);
  const lines = (text: string, first: string, rest: string) =>
    wrap(shortIds(sanitize(text)), width, first, rest);
  const paintStart = (start: string, style: Style, [first = '', ...rest]: readonly string[]) => [
    first.replace(start, () => paint(style, start)),
    ...rest,
  ];
  const row = ({ tone, text }: Row) => {
    if (tone === undefined) return lines(text, '    ', '      ');
    const style = tone === 'pass' ? 'dim' : undefined;
    return markedLines(tone, shortIds(sanitize(text)), { colored, width, indent: '  ', style });
  };
  const dedupe = new Dedupe();
  const { node, handler, proof, evaluation, installation, handlers = [], pods, sandboxes } = report;
  const [tone, headline] = HEADLINES[evaluation.verdict.status];
  const since = evaluation.verdict.status === report.verdict.status ? sinceOf(report) : undefined;
  const subject = `${node}, handler "${handler}"${since === undefined ? '' : `, since ${formatUtc(since)}`}`;
  const why = `${evaluation.verdict.reason}: ${dedupe.once(causeOf(evaluation.verdict, proof))}`;
  const steps = stepsOf(report).flatMap(({ reason, remedy }) =>
    paintStart(reason, 'bold', lines(`${reason}: ${remedy}`, '  ', '    ')),
  );
  const parts = [
    [
      paint([TONE_COLORS[tone], 'bold'], headline),
      ...lines(subject, '', '').map((line) => paint('dim', line)),
    ],
    paintStart(evaluation.verdict.reason, 'bold', lines(why, '  ', '  ')),
    checkRows(report, dedupe).flatMap(row),
    handlers.map(handlerRow).flatMap(row),
    installation === undefined ? [] : row(installerRow(installation)),
    pods === undefined ? [] : podRows(pods).flatMap(row),
    sandboxes === undefined ? [] : sandboxRows(sandboxes).flatMap(row),
    steps.length === 0 ? [] : [paint('bold', 'What to do next'), ...steps],
  ];
  return parts
    .filter((part) => part.length > 0)
    .map((part) => `\n${part.join('\n')}\n`)
    .join('');
}

function checkRows({ findings, proof }: Report, dedupe: Dedupe): readonly Row[] {
  const checks = findings.map((finding) => {
    const title = TITLES.get(finding.check) ?? finding.check;
    return { tone: toneOf(finding, proof.kind === 'proven'), title, message: finding.message };
  });
  return [...checks, { tone: PROOF_TONES[proof.kind], title: BOOT_TITLE, message: proof.message }]
    .sort((a, b) => TONES.indexOf(a.tone) - TONES.indexOf(b.tone))
    .map(({ tone, title, message }) => ({ tone, text: `${title}: ${dedupe.once(message)}` }));
}

function handlerRow({ handler, verdict: { status, reason, message } }: HandlerReport): Row {
  const [tone] = HEADLINES[status];
  const why = status === 'True' ? message : `${reason}: ${message}`;
  return { tone, text: `Additional handler "${handler}": ${why}` };
}

/** The main handler's, then those of additional ones if they differ. */
function stepsOf({ handlers = [], ...main }: Status): readonly Step[] {
  const steps = [...nextSteps(main)];
  for (const step of handlers.flatMap((each) => nextSteps(each)))
    if (!steps.some(({ reason }) => reason === step.reason)) steps.push(step);
  return steps;
}

function installerRow(installation: Installation): Row {
  const { tone, text } = describeInstallation(installation);
  return { tone, text: `Installer: ${text}` };
}

const MAX_LISTED = 20;

function podRows(pods: PodsReport): readonly Row[] {
  const { tone, headline, remedy, rest } = describePods(pods);
  const faulty = [...pods.violating, ...pods.weakened];
  const hidden = faulty.length - MAX_LISTED;
  const listed = faulty.slice(0, MAX_LISTED).map((pod) => `${pod.namespace}/${pod.name}: ${pod.evidence}`);
  const more = [hidden > 0 ? `and ${hidden} more` : undefined, remedy, rest];
  const below = [...listed, ...more].flatMap((text) => (text === undefined ? [] : [{ text }]));
  return [{ tone, text: headline }, ...below];
}

/** Nothing if all sandboxes are well and a restart of containerd is safe. */
function sandboxRows({ problems, total, restart }: SandboxesReport): readonly Row[] {
  const rows: Row[] = [];
  if (total > 0)
    rows.push({
      tone: 'warning',
      text: total === 1 ? '1 sandbox has a problem' : `${total} sandboxes have problems`,
    });
  const explained = new Set<string>();
  for (const problem of problems.slice(0, MAX_LISTED)) {
    const { reason, message, namespace, name } = problem;
    const of = name === undefined ? '' : ` of pod ${namespace}/${name}`;
    rows.push({ text: `${reason}${of}: ${message}.` });
    if (!explained.has(reason)) rows.push({ text: remedyOf(problem) });
    explained.add(reason);
  }
  if (total > MAX_LISTED) rows.push({ text: `and ${total - MAX_LISTED} more` });
  const because = restart.because.join('; ');
  if (restart.state === 'unsafe')
    rows.push({ tone: 'warning', text: `A restart of containerd is not safe now: ${because}` });
  if (restart.state === 'unknown')
    rows.push({ tone: 'unknown', text: `Whether a restart of containerd is safe is not known: ${because}` });
  return rows;
}

type PodSummary = {
  readonly tone: Tone;
  readonly headline: string;
  readonly remedy?: string;
  readonly rest?: string | undefined;
};

const REMEDY = 'Delete them, and recreate them with a runtimeClassName of gVisor.';
const WEAKENED_REMEDY =
  'Recreate them without the annotations dev.gvisor.* that do this, and remove the patterns that pass them on from pod_annotations of the handler.';

/** Pods outside gVisor where they must not be first, then those in a weakened sandbox. */
function describePods(pods: PodsReport): PodSummary {
  const { violating, weakened, permitted, unknown, running, requirementsKnown, stale, at } = pods;
  const elsewhere = violating.length > 0 || requirementsKnown ? ' where nothing requires it' : '';
  const parts: string[] = [];
  if (permitted.length > 0)
    parts.push(`${permitted.length} of ${counted(running)} outside of gVisor${elsewhere}`);
  if (unknown.length > 0) parts.push(`${counted(unknown.length)} in an unknown runtime`);
  if (stale) parts.push(`last read at ${formatUtc(at)}`);
  const weak = weakened.length > 0 && `${counted(weakened.length)} in a weakened sandbox`;
  if (weak && violating.length > 0) parts.unshift(weak);
  const rest = parts.join('; ') || undefined;
  if (violating.length > 0) {
    const headline = `${counted(violating.length)} outside of gVisor in a namespace that requires it`;
    return { tone: 'fail', headline, remedy: REMEDY, rest };
  }
  if (weak) {
    const tone = weakened.some(isOpen) ? 'fail' : 'warning';
    return { tone, headline: weak, remedy: WEAKENED_REMEDY, rest };
  }
  if (!requirementsKnown)
    return { tone: 'unknown', headline: 'It is unknown which namespaces require gVisor', rest };
  if (stale) return { tone: 'unknown', headline: 'The pods cannot be read now', rest };
  return { tone: 'pass', headline: 'No pod runs outside of gVisor in a namespace that requires it', rest };
}

function counted(pods: number): string {
  return pods === 1 ? '1 pod runs' : `${pods} pods run`;
}
