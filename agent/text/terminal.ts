import { formatUtc } from '../../lib/base/utc.ts';
import { explainReport, faultsFirst, stepsOfAll, stepTexts } from '../../lib/report/explain.ts';
import { HEADLINES } from '../../lib/report/format.ts';
import { sinceOf } from '../../lib/report/next-steps.ts';
import { headed, plainLines, remarkLines, sectionLines, UTC_TIMES } from '../../lib/report/remark.ts';
import type { Report, Status, Transition } from '../../lib/report/report.ts';
import { paint, type Screen, TONE_COLORS } from '../../lib/report/table.ts';

const MAX_TRANSITIONS = 5;

/** As "why NODE" of the plugin has it, with the history and the facts. Only a longer word exceeds the width. */
export function renderReport(report: Status, screen: Screen): string {
  const { node, handler, evaluation, verdict } = report;
  const judged = evaluation.verdict;
  const [tone, headline] = HEADLINES[judged.status];
  const since = judged.status === verdict.status ? sinceOf(report) : undefined;
  const subject = `${node}, handler "${handler}"${since === undefined ? '' : `, ${UTC_TIMES.since(since)}`}`;
  const { because, times, ...seen } = explainReport(report, judged, UTC_TIMES);
  const history = report.history.length < 2 ? [] : report.history.slice(0, MAX_TRANSITIONS);
  const quiet = (text: string) => plainLines(text, screen).map((line) => paint(screen, 'dim', line));
  const sections = {
    because: [`${judged.reason}${because && `: ${because}`}`, times],
    seen: [...seen.published, ...faultsFirst([...seen.checks, ...seen.handlers, ...seen.others])],
    next: stepTexts(stepsOfAll(report), report),
  };
  const lines = [
    '',
    paint(screen, [TONE_COLORS[tone], 'bold'], headline),
    ...quiet(subject),
    ...sectionLines(sections, screen),
    ...headed(
      'History',
      history.flatMap((each) => transitionLines(each, screen)),
      screen,
    ),
    '',
    ...quiet(factsOf(report)),
  ];
  return `${lines.join('\n')}\n`;
}

function transitionLines({ status, reason, at }: Transition, screen: Screen): readonly string[] {
  const [tone] = HEADLINES[status];
  return remarkLines({ tone, about: formatUtc(at), text: reason }, screen);
}

function factsOf({ facts, version }: Report): string {
  const { os, kernel, containerd, runsc, platform, nvidiaDriver } = facts;
  const releases = { kernel, containerd, runsc, platform, 'NVIDIA driver': nvidiaDriver, agent: version };
  const known = Object.entries(releases).flatMap(([name, value]) => (value ? [`${name} ${value}`] : []));
  return [...(os ? [os] : []), ...known].join(', ');
}
