import { print, printProblems, screenOf } from '../lib/base/print.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import { handlersOf, type Report, type Status } from '../lib/report/report.ts';
import { additionalNodes, type NodeParts, openAgent, readNodeFacts, SHUTDOWN_TIMEOUT_MS } from './handler.ts';
import { EXIT_CODES } from './start/cli.ts';
import { renderReport } from './text/terminal.ts';
import { openWorkloads } from './workloads.ts';

/** A person waits: a slow boot is worth it. */
const ONCE_BOOT_TIMEOUT_MS = 60_000;

/** Evaluates once without confirmation, and returns the main handler's exit code. */
export async function once(node: NodeParts, json: boolean): Promise<number> {
  const { signal } = node;
  const facts = await readNodeFacts(node);
  const nowhere = { count: () => {}, show: () => {}, write: () => {} };
  const options = { waitMs: ONCE_BOOT_TIMEOUT_MS, onLateEnd: () => {}, onOrphans: () => {} };
  const handlers = [node, ...additionalNodes(node)].map((each) =>
    openAgent(each, { facts: each === node ? facts : {}, ...nowhere }, options),
  );
  try {
    const reports: Report[] = [];
    for (const { agent, announcer } of handlers) {
      await agent.reconcile([{ kind: 'start' }], signal);
      if (announcer.report !== undefined) reports.push(announcer.report);
    }
    const [report, ...additional] = reports;
    if (report === undefined) return EXIT_CODES.Unknown;
    const { pods, sandboxes } = openWorkloads(node, handlers);
    const { verdict } = report.evaluation;
    const status: Status = {
      ...report,
      verdict,
      ...handlersOf(additional.map((each) => ({ ...each, verdict: each.evaluation.verdict }))),
      pods: await pods.readOnce(signal).catch(() => undefined),
      sandboxes: await sandboxes.scanOnce(signal).catch(() => undefined),
    };
    print(json ? `${JSON.stringify(status, null, 2)}\n` : renderReport(status, screenOf()));
    return EXIT_CODES[verdict.status];
  } catch (error) {
    return printProblems([`The evaluation was interrupted: ${errorLine(error)}`], EXIT_CODES.Unknown);
  } finally {
    await Promise.all(handlers.map(({ prover }) => prover.finish(SHUTDOWN_TIMEOUT_MS)));
  }
}
