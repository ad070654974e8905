import { openLog } from '../lib/base/log.ts';
import { print, printProblems } from '../lib/base/print.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import { settingLines } from '../lib/base/settings.ts';
import { VERSION } from '../lib/base/version.ts';
import { listen } from '../lib/kube/bounded-server.ts';
import { createKube } from '../lib/kube/client.ts';
import { openAccess } from './access.ts';
import { FleetController } from './controller.ts';
import { FleetMetrics } from './metrics.ts';
import { createFleetServer } from './server.ts';
import FLEET_SETTINGS from './settings.json' with { type: 'json' };
import { parseFleetConfig } from './settings.ts';

// No await: the image's bundle is CommonJS.
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help')) return print(helpText());
  if (args.length > 0) return printProblems([`The controller takes no arguments: "${args.join(' ')}"`]);
  const { config: settings, problems } = parseFleetConfig(process.env);
  if (problems.length > 0) return printProblems(problems);
  const log = openLog(settings.logLevel, {});
  const metrics = new FleetMetrics();
  try {
    const { access, namespace } = await openAccess(settings.kubeconfig, process.env);
    const agent = `gvisor-ready-fleet/${VERSION}`;
    const kube = createKube(access, { agent, count: metrics.countRequest });
    const fleet = new FleetController({ kube, namespace, log, settings, metrics });
    const server = createFleetServer({
      view: () => fleet.view,
      metrics: () => metrics.text(fleet.view),
      live: () => fleet.live,
      ready: () => fleet.ready,
      agentText: (node) => fleet.agentText(node),
    });
    const problem = await listen(server, settings.listen);
    if (problem !== undefined) return printProblems([problem], 1);
    log.info({ version: VERSION, listening: server.address() }, 'controller started');
    const stop = new AbortController();
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
    await fleet.run(stop.signal);
    log.info('controller stopped; labels stay as they are');
    server.close();
    await kube.close();
    return 0;
  } catch (error) {
    return printProblems([`Cannot start the controller: ${errorLine(error)}`], 1);
  }
}

function helpText(): string {
  return `gvisor-ready fleet ${VERSION}: shows the fleet, and withdraws the labels of lost agents and of earlier boots.

usage: npm run fleet

settings, from the environment:
${settingLines(FLEET_SETTINGS, 16)}
`;
}
