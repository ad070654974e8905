import type { Agent } from './agent.ts';
import { screenOf } from './console.ts';
import type { PodsOutside } from './pods/outside.ts';
import type { Status } from './report.ts';
import { renderReport } from './text/terminal.ts';

/** The exit codes of a single look, by what it came to. */
export const EXIT_CODES = { True: 0, False: 1, Unknown: 2 } as const;

/** What a single look needs: the agent, whether to print JSON, and what reads the pods. */
export type OnceOptions = {
  readonly agent: Agent;
  readonly json: boolean;
  readonly readPods: (signal: AbortSignal) => Promise<PodsOutside | undefined>;
};

/** Looks once, prints what was seen as a table or as JSON, and gives the exit code. No second look confirms a single one. */
export async function lookOnce({ agent, json, readPods }: OnceOptions, signal: AbortSignal): Promise<number> {
  await agent.round([{ kind: 'start' }], signal);
  if (agent.report === undefined) return EXIT_CODES.Unknown;
  const { verdict } = agent.report.look;
  const pods = await readPods(signal).catch(() => undefined);
  const report: Status = { ...agent.report, verdict, pods };
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderReport(report, screenOf()));
  return EXIT_CODES[verdict.status];
}
