import { sanitize } from '../../lib/base/sanitize.ts';
import { formatUtc } from '../../lib/base/utc.ts';
import type { Finding } from '../../lib/checks/finding.ts';
import type { Installation } from '../../lib/host/installation.ts';
import { isOpen, type Pod, type PodCounts, type PodsReport } from '../../lib/pods/pod.ts';
import type { Outcome } from '../../lib/proof/outcome.ts';
import {
  evidenceLine,
  HEADLINES,
  PROOF_TONES,
  seconds,
  shortIds,
  TONES,
  type Tone,
  toneOf,
  wrap,
} from '../../lib/report/format.ts';
import { describeInstallation } from '../../lib/report/installation.ts';
import { type NextStep, nextSteps, sinceOf } from '../../lib/report/next-steps.ts';
import type { HandlerReport, Report, Status, Transition } from '../../lib/report/report.ts';
import {
  markedLines,
  paint as paintOn,
  type Screen,
  type Style,
  TONE_COLORS,
} from '../../lib/report/table.ts';
import type { Verdict } from '../../lib/report/verdict.ts';
import { remedyOf, type SandboxesReport } from '../../lib/sandboxes/problem.ts';
import { CHECKS } from '../checks/checks.ts';

/** A row without a tone continues the one above, and evidence is farther to the right. */
type Row = { readonly tone?: Tone; readonly text: string; readonly isEvidence?: true };

const BOOT_TITLE = "A sandbox boots, is gVisor's, and goes away";
const TITLES = new Map(CHECKS.map(({ id, title }) => [id, title]));
const MAX_LISTED = 20;
const MAX_TRANSITIONS = 5;

/** Faults first; only a word that is longer than the screen exceeds its width. */
export function renderReport(report: Status, { colored, width }: Screen): string {
  const paint = (style: Style, text: string) => paintOn({ colored }, style, text);
  const lines = (text: string, first: string, rest: string) =>
    wrap(shortIds(sanitize(text)), width, first, rest);
  const paintStart = (start: string, style: Style, [first = '', ...rest]: readonly string[]) => [
    first.replace(start, () => paint(style, start)),
    ...rest,
  ];
  const row = ({ tone, text, isEvidence }: Row) => {
    if (isEvidence) return lines(text, '      ', '        ');
    if (tone === undefined) return lines(text, '    ', '      ');
    const style = tone === 'pass' ? 'dim' : undefined;
    return markedLines(tone, shortIds(sanitize(text)), { colored, width, indent: '  ', style });
  };
  const once = dedupe();
  const { node, handler, proof, evaluation, installation } = report;
  const { handlers = [], pods, podCounts, sandboxes } = report;
  const history = report.history.slice(0, MAX_TRANSITIONS);
  const [tone, headline] = HEADLINES[evaluation.verdict.status];
  const since = evaluation.verdict.status === report.verdict.status ? sinceOf(report) : undefined;
  const subject = `${node}, handler "${handler}"${since === undefined ? '' : `, since ${formatUtc(since)}`}`;
  const why = `${evaluation.verdict.reason}: ${once(causeOf(evaluation.verdict, proof))}`;
  const quiet = (text: string) => lines(text, '', '').map((line) => paint('dim', line));
  const steps = stepsOf(report).flatMap(({ reason, remedy }) =>
    paintStart(reason, 'bold', lines(`${reason}: ${remedy}`, '  ', '    ')),
  );
  const checks = checkRows(report, once);
  once(evaluation.verdict.message); // it was shown in two parts
  const parts = [
    [paint([TONE_COLORS[tone], 'bold'], headline), ...quiet(subject)],
    paintStart(evaluation.verdict.reason, 'bold', lines(why, '  ', '  ')),
    publicationRows(report).flatMap(row),
    checks.flatMap(row),
    handlers.flatMap((each) => handlerRows(each, report, once)).flatMap(row),
    installation === undefined ? [] : row(installerRow(installation)),
    aboutPods(pods, podCounts).flatMap(row),
    sandboxes === undefined ? [] : sandboxRows(sandboxes).flatMap(row),
    steps.length === 0 ? [] : [paint('bold', 'What to do next'), ...steps],
    history.length < 2 ? [] : [paint('bold', 'History'), ...history.map(transitionRow).flatMap(row)],
    [...quiet(timesOf(report)), ...quiet(factsOf(report))],
  ];
  return parts
    .filter((part) => part.length > 0)
    .map((part) => `\n${part.join('\n')}\n`)
    .join('');
}

/** Why the Node, metrics and alerts say something else. */
function publicationRows({ verdict, evaluation, history, nodeWrites }: Status): readonly Row[] {
  const { problem, condition } = nodeWrites ?? {};
  const rows: Row[] = [];
  if (problem !== undefined) {
    const says = condition === undefined ? 'has no verdict' : `says ${condition.status} ${condition.reason}`;
    rows.push({ tone: 'fail', text: `The agent cannot write its Node, which ${says}: ${problem}` });
  }
  if (isPending({ verdict, evaluation })) {
    const since = sinceOf({ verdict, history, nodeWrites });
    const published = `"${HEADLINES[verdict.status][1]}" (${verdict.reason})`;
    const text = `Not published yet. Published is still ${published}${since === undefined ? '' : `, since ${formatUtc(since)}`}`;
    rows.push({ tone: 'unknown', text });
  }
  return rows;
}

function isPending({ verdict, evaluation }: Pick<Status, 'verdict' | 'evaluation'>): boolean {
  return verdict.status !== evaluation.verdict.status || verdict.reason !== evaluation.verdict.reason;
}

function checkRows({ findings, proof }: Report, once: Once): readonly Row[] {
  const checks = findings.map((finding) => ({
    tone: toneOf(finding, proof.kind === 'proven'),
    title: titleOf(finding),
    message: finding.message,
    below: ['fail', 'unknown'].includes(finding.status) ? evidenceRows(finding) : [],
  }));
  const booted = { tone: PROOF_TONES[proof.kind], title: BOOT_TITLE, message: proof.message, below: [] };
  return [...checks, booted]
    .sort((a, b) => TONES.indexOf(a.tone) - TONES.indexOf(b.tone))
    .flatMap(({ tone, title, message, below }) => [{ tone, text: `${title}: ${once(message)}` }, ...below]);
}

function titleOf({ check }: Finding): string {
  return TITLES.get(check) ?? check;
}

function evidenceRows({ evidence = [] }: Finding): readonly Row[] {
  return evidence.map((each) => ({ text: evidenceLine(each), isEvidence: true }));
}

/** Below it the failed checks that the main handler does not have. */
function handlerRows(report: HandlerReport, main: Status, once: Once): readonly Row[] {
  const { handler, verdict, evaluation, findings } = report;
  const [tone] = HEADLINES[verdict.status];
  const whyOf = ({ status, reason, message }: HandlerReport['verdict']) =>
    status === 'True' ? message : `${reason}: ${once(message)}`;
  const failed = findings.filter(
    ({ check, status, message }) =>
      status === 'fail' && !main.findings.some((each) => each.check === check && each.message === message),
  );
  return [
    { tone, text: `Additional handler "${handler}": ${whyOf(verdict)}` },
    ...(isPending(report) ? [{ text: `Not published yet: ${whyOf(evaluation.verdict)}` }] : []),
    ...failed.flatMap((each) => [{ text: `${titleOf(each)}: ${each.message}` }, ...evidenceRows(each)]),
  ];
}

/** The main handler's, then those of additional ones if they differ. */
function stepsOf({ handlers = [], ...main }: Status): readonly NextStep[] {
  const steps = [...nextSteps(main)];
  for (const step of handlers.flatMap((each) => nextSteps(each)))
    if (!steps.some(({ reason }) => reason === step.reason)) steps.push(step);
  return steps;
}

function installerRow(installation: Installation): Row {
  const { tone, text } = describeInstallation(installation);
  return { tone, text: `Installer: ${text}` };
}

/** Violations come first. Without `pods` for readers who may not see them. */
function aboutPods(pods: PodsReport | undefined, counts: PodCounts | undefined): readonly Row[] {
  if (pods !== undefined) return podRows(countsOf(pods), pods);
  return counts === undefined ? [] : podRows(counts);
}

function podRows({ violating, weakened, open, unknown = 0 }: PodCounts, pods?: PodsReport): readonly Row[] {
  const rows: Row[] = [];
  if (violating > 0)
    rows.push(
      { tone: 'fail', text: `${counted(violating)} ${VIOLATING}` },
      ...listed(pods?.violating, REMEDY),
    );
  if (weakened > 0)
    rows.push(
      { tone: open > 0 ? 'fail' : 'warning', text: `${counted(weakened)} in a weakened sandbox` },
      ...listed(pods?.weakened, WEAKENED_REMEDY),
    );
  const ofUnknown = `${counted(unknown)} in an unknown runtime where gVisor is required`;
  if (unknown > 0) rows.push({ tone: 'unknown', text: ofUnknown });
  if (pods?.stale)
    rows.push({ tone: 'unknown', text: `The pods cannot be read now: last read at ${formatUtc(pods.at)}` });
  if (pods?.requirementsKnown === false)
    rows.push({ tone: 'unknown', text: 'It is unknown which namespaces require gVisor' });
  if (rows.length === 0) rows.push({ tone: 'pass', text: `No pod runs ${VIOLATING}` });
  const permitted = pods?.permitted.length ?? 0;
  const where = pods?.requirementsKnown ? ' where nothing requires it' : '';
  if (permitted > 0)
    rows.push({ text: `${permitted} of ${counted(pods?.running ?? 0)} outside of gVisor${where}` });
  return rows;
}

function listed(pods: readonly Pod[] | undefined, remedy: string): readonly Row[] {
  if (pods === undefined) return [];
  const texts = pods.slice(0, MAX_LISTED).map((pod) => `${pod.namespace}/${pod.name}: ${pod.evidence}`);
  const more = pods.length > MAX_LISTED ? [`and ${pods.length - MAX_LISTED} more`] : [];
  return [...texts, ...more, remedy].map((text) => ({ text }));
}

function countsOf({ violating, weakened, unknownRequired: unknown = 0 }: PodsReport): PodCounts {
  const open = weakened.filter(isOpen).length;
  return { violating: violating.length, weakened: weakened.length, open, unknown };
}

function sandboxRows({ at, stale, problems, total, restart }: SandboxesReport): readonly Row[] {
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
  const because = stale ? `last scanned at ${formatUtc(at)}` : restart.because.join('; ');
  const answers: Readonly<Record<typeof restart.state, Row>> = {
    safe: { tone: 'pass', text: 'A restart of containerd is safe now: every pod would stay' },
    unsafe: { tone: 'warning', text: `A restart of containerd is not safe now: ${because}` },
    unknown: { tone: 'unknown', text: `Whether a restart of containerd is safe is not known: ${because}` },
  };
  return [...rows, answers[stale ? 'unknown' : restart.state]];
}

function transitionRow({ status, reason, at }: Transition): Row {
  return { tone: HEADLINES[status][0], text: `${formatUtc(at)}: ${reason}` };
}

function timesOf({ evaluation: { at, durationMs, trigger }, provenAt }: Report): string {
  const proven =
    provenAt === undefined ? 'not proven since the agent started' : `last proven at ${formatUtc(provenAt)}`;
  return `Evaluated at ${formatUtc(at)} in ${seconds(durationMs)} (${trigger}); ${proven}`;
}

function factsOf({ facts, version }: Report): string {
  const { os, kernel, containerd, runsc, platform, nvidiaDriver } = facts;
  const releases = { kernel, containerd, runsc, platform, 'NVIDIA driver': nvidiaDriver, agent: version };
  const known = Object.entries(releases).flatMap(([name, value]) => (value ? [`${name} ${value}`] : []));
  return [...(os ? [os] : []), ...known].join(', ');
}

const VIOLATING = 'outside of gVisor where namespace or class requires it';
const REMEDY = 'Delete them, and recreate them with a runtimeClassName of gVisor.';
const WEAKENED_REMEDY =
  'Recreate them without the annotations dev.gvisor.* that do this, and remove the patterns that pass them on from pod_annotations of the handler.';

function counted(pods: number): string {
  return pods === 1 ? '1 pod runs' : `${pods} pods run`;
}

type Once = ReturnType<typeof dedupe>;

/** Shorter texts may be repeated. */
const MIN_DEDUPED_LENGTH = 60;

/** Shows each long text once, whichever sandbox ids it names. */
function dedupe() {
  const shown = new Set<string>();
  return (text: string): string => {
    const key = withoutIds(text);
    if (text.length > MIN_DEDUPED_LENGTH && shown.has(key)) return 'as said above';
    shown.add(key);
    return text;
  };
}

/** Without containerd's error at its end, which the proof shows. */
function causeOf({ message }: Verdict, proof: Outcome): string {
  const error = `; ${withoutIds(proof.message)}`;
  return withoutIds(message).endsWith(error) ? message.slice(0, -error.length) : message;
}

/** Each attempt has a sandbox with another id. */
function withoutIds(text: string): string {
  return text.replace(/\b[0-9a-f]{64}\b/g, 'x'.repeat(64));
}
