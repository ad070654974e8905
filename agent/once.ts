import type { Agent } from './agent.ts';
import { renderReport } from './publish/terminal.ts';

/** The exit codes of a single look, by what it came to. */
export const EXIT_CODES = { True: 0, False: 1, Unknown: 2 } as const;

/** Looks once, prints what was seen as a table or as JSON, and gives the exit code. No second look confirms a single one. */
export async function lookOnce(agent: Agent, json: boolean, signal: AbortSignal): Promise<number> {
  await agent.round(['once'], signal);
  if (agent.report === undefined) return EXIT_CODES.Unknown;
  const { verdict } = agent.report.look;
  const report = { ...agent.report, verdict };
  const colored = process.stdout.isTTY && process.stdout.hasColors();
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderReport(report, colored));
  return EXIT_CODES[verdict.status];
}
