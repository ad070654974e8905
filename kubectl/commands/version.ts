import type { VersionInfo } from '@kubernetes/client-node';
import { VERSION } from '../../lib/base/version.ts';
import { tally } from '../../lib/fleet/objects.ts';
import { listAgents } from '../agent-reports.ts';
import { optional } from '../api.ts';
import { type Context, EXIT } from '../context.ts';
import { readDeployment } from '../fleet-controller.ts';
import { countOf, type Format, isForPrograms, type Output, printMessage, printResult } from '../output.ts';

export type VersionFlags = { readonly output?: Format; readonly client?: boolean };

export async function version(
  output: Output,
  open: () => Context,
  { output: format, client }: VersionFlags,
): Promise<number> {
  const found = client ? undefined : await readVersions(open());
  const { agents, fleetController, server } = found ?? {};
  const counts = Object.entries(agents ?? {}).map(([name, count]) => `${name} on ${countOf(count, 'node')}`);
  printResult(output, format, { client: VERSION, ...found }, [
    `Client Version: ${VERSION}`,
    ...(found === undefined
      ? []
      : [
          `Agent Version: ${agents === null ? 'you may not list the agents' : counts.join(', ') || 'no agent runs'}`,
          `Fleet Controller Version: ${fleetController ?? 'unknown'}`,
          `Server Version: ${server}`,
        ]),
  ]);
  if (!isForPrograms(format) && Object.keys(agents ?? {}).some((name) => name !== VERSION))
    printMessage(output, 'WARNING: agents and this plugin have different versions.');
  return EXIT.ok;
}

async function readVersions({ api }: Context) {
  const [agents, fleet, { gitVersion }] = await Promise.all([
    optional(listAgents(api), [403]),
    readDeployment(api),
    api.get<VersionInfo>('/version'),
  ]);
  return {
    agents: agents === undefined ? null : tally(agents.map((agent) => agent.version)),
    fleetController: typeof fleet === 'object' ? fleet.version : null,
    server: gitVersion,
  };
}
