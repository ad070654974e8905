import type { Finding } from '../checks/finding.ts';
import type { Outcome } from '../proof/outcome.ts';
import { explainPods, stepsForPods } from './explain-pods.ts';
import { explainSandboxes, stepsForSandboxes } from './explain-sandboxes.ts';
import { evidenceLine, HEADLINES, PROOF_TONES, seconds, TONES, toneOf } from './format.ts';
import { describeInstallation } from './installation.ts';
import { type NextStep, nextSteps, sinceOf } from './next-steps.ts';
import type { Remark, Times } from './remark.ts';
import type { HandlerReport, Status } from './report.ts';
import type { Verdict } from './verdict.ts';

/** The parts of a report, in the order in which people read them. */
export type ExplainedReport = {
  /** The cause of the verdict; "" if the proof says it. */
  readonly because: string;
  readonly times: string;
  /** Why Node, metrics and alerts say something else. */
  readonly published: readonly Remark[];
  readonly checks: readonly Remark[];
  readonly handlers: readonly HandlerRemark[];
  /** The installer, pods and sandboxes. */
  readonly others: readonly Remark[];
};

export type HandlerRemark = Remark & { readonly handler: string };

/** `judged` is the verdict that the headline is about. */
export function explainReport(report: Status, judged: Verdict, times: Times): ExplainedReport {
  const once = dedupe();
  const { proof, installation, sandboxes, handlers = [] } = report;
  const isProof = judged.status === 'True' && proof.kind === 'proven';
  const because = isProof ? '' : once(causeOf(judged, proof));
  const checks = checkRemarks(report, once);
  once(judged.message); // it was shown in two parts
  return {
    because,
    times: timesOf(report, times),
    published: publicationRemarks(report, times),
    checks,
    handlers: handlers.map((each) => handlerRemark(each, report, { once, times })),
    others: [
      ...(installation === undefined ? [] : [{ about: 'installer', ...describeInstallation(installation) }]),
      ...explainPods(report, times),
      ...(sandboxes === undefined ? [] : explainSandboxes(sandboxes, times)),
    ],
  };
}

/** First those that a code names, then what to do about pods and sandboxes. */
export function stepTexts(steps: readonly NextStep[], report: Status | undefined): readonly string[] {
  return [
    ...steps.map(({ reason, remedy }) => `${reason}: ${remedy}`),
    ...(report === undefined ? [] : stepsForPods(report)),
    ...stepsForSandboxes(report?.sandboxes?.problems ?? []),
  ];
}

/** The main handler's, then those of additional ones if they differ. */
export function stepsOfAll({ handlers = [], ...main }: Status): readonly NextStep[] {
  const steps = [...nextSteps(main)];
  if (steps.some(({ reason }) => reason === 'InstallationUnderWay')) return steps;
  for (const step of handlers.flatMap((each) => nextSteps(each)))
    if (!steps.some(({ reason }) => reason === step.reason)) steps.push(step);
  return steps;
}

/** Of the same tone in their order. */
export function faultsFirst(remarks: readonly Remark[]): readonly Remark[] {
  return remarks.toSorted((a, b) => TONES.indexOf(a.tone) - TONES.indexOf(b.tone));
}

function publicationRemarks(report: Status, times: Times): readonly Remark[] {
  const { verdict, evaluation, nodeWrites: { problem, condition } = {} } = report;
  const about = 'published';
  const seen: Remark[] = [];
  if (problem !== undefined) {
    const says = condition === undefined ? '' : `, which says ${condition.status} ${condition.reason}`;
    seen.push({ tone: 'fail', about, text: `the agent cannot write its Node${says}: ${problem}` });
  }
  if (isPending(report)) {
    const since = sinceOf(report);
    const still = `${quoted(verdict)}${since === undefined ? '' : `, ${times.since(since)}`}`;
    const text = `still ${still}; the latest evaluation is not published yet: ${quoted(evaluation.verdict)}`;
    seen.push({ tone: 'unknown', about, text });
  }
  return seen;
}

function isPending({ verdict, evaluation }: Pick<Status, 'verdict' | 'evaluation'>): boolean {
  return verdict.status !== evaluation.verdict.status || verdict.reason !== evaluation.verdict.reason;
}

function quoted({ status, reason }: Verdict): string {
  return `"${HEADLINES[status][1]}" (${reason})`;
}

/** Faults first, then the passed checks in one line. Checks with one message share a line. */
function checkRemarks({ findings, proof }: Status, once: Once): readonly Remark[] {
  const passed = findings.filter(({ status }) => status === 'pass').map(({ check }) => check);
  const groups = new Map<string, Finding[]>();
  for (const finding of findings.filter(({ status }) => status !== 'pass')) {
    const group = groups.get(finding.message);
    if (group === undefined) groups.set(finding.message, [finding]);
    else group.push(finding);
  }
  const proven = proof.kind === 'proven';
  const others = [...groups].map(([message, group]): Remark => {
    const [tone = 'unknown'] = group
      .map((finding) => toneOf(finding, proven))
      .sort((a, b) => TONES.indexOf(a) - TONES.indexOf(b));
    const about = group.map(({ check }) => check).join(', ');
    return { tone, about, text: message, below: group.flatMap(evidenceLines) };
  });
  const booted: Remark = { tone: PROOF_TONES[proof.kind], about: 'proof', text: proof.message };
  return [
    ...faultsFirst([...others, booted]).map((remark) => ({ ...remark, text: once(remark.text) })),
    ...(passed.length === 0 ? [] : [{ tone: 'pass', about: 'passed', text: passed.join(', ') } as const]),
  ];
}

function evidenceLines({ evidence = [] }: Finding): readonly string[] {
  return evidence.map(evidenceLine);
}

/** Below it the checks that say what those of the main handler do not. */
function handlerRemark(
  report: HandlerReport,
  main: Status,
  { once, times }: { readonly once: Once; readonly times: Times },
): HandlerRemark {
  const { handler, verdict, evaluation, findings, provenAt } = report;
  const [tone] = HEADLINES[verdict.status];
  const since = sinceOf(report);
  const proven = provenAt === undefined ? '' : `last proven ${times.at(provenAt)}`;
  const own = findings.filter(
    ({ check, status, message }) =>
      ['fail', 'unknown'].includes(status) &&
      !main.findings.some((each) => each.check === check && each.message === message),
  );
  const { status, reason, message } = verdict;
  const code = since === undefined ? reason : `${reason}, ${times.since(since)}`;
  return {
    tone,
    about: aboutHandler(handler),
    text: status === 'True' ? proven || message : `${code}: ${once(message)}`,
    below: [
      ...(isPending(report) ? [`not published yet: ${quoted(evaluation.verdict)}`] : []),
      ...own.flatMap((each) => [
        ...(message.includes(each.message) ? [] : [`${each.check}: ${once(each.message)}`]),
        ...evidenceLines(each),
      ]),
    ],
    handler,
  };
}

export function aboutHandler(handler: string): string {
  return `handler ${handler}`;
}

function timesOf({ evaluation: { at, durationMs, trigger }, provenAt }: Status, times: Times): string {
  const proven =
    provenAt === undefined ? 'not proven since the agent started' : `last proven ${times.at(provenAt)}`;
  return `Evaluated ${times.at(at)} in ${seconds(durationMs)} (${trigger}); ${proven}.`;
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
