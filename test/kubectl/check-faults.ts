import { setNode } from './fleet.ts';
import { nodeOf } from './fleet-objects.ts';
import { type Fleet, openFleet } from './open-fleet.ts';

type Line = { readonly section: string; readonly tone: string; readonly text: string };

/** The lines of a check of a fleet that is sound but for one change, that are not in order; and the exit code. */
export async function faults(
  { run }: Fleet,
  words = 'check',
): Promise<{ readonly code: number; readonly lines: readonly string[] }> {
  const { code, out } = await run(`${words} -o json`);
  const { checks } = JSON.parse(out) as { checks: readonly Line[] };
  return {
    code,
    lines: checks.filter(({ tone }) => tone !== 'pass').map(({ tone, text }) => `${tone}: ${text}`),
  };
}

/** A fleet in which nothing is wrong. */
export async function sound(t: Parameters<typeof openFleet>[0]): Promise<Fleet> {
  const fleet = await openFleet(t);
  setNode(fleet.api, nodeOf('node-3'));
  return fleet;
}
