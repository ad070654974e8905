import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { waitUpTo } from '../lib/base/async.ts';
import { openLog } from '../lib/base/log.ts';
import { print, printProblems } from '../lib/base/print.ts';
import { errorLine } from '../lib/base/sanitize.ts';
import { VERSION } from '../lib/base/version.ts';
import { CriClient } from '../lib/containerd/client.ts';
import { readDistribution } from '../lib/containerd/distribution.ts';
import { Host, localSocket } from '../lib/host/host.ts';
import type { NotVisible } from '../lib/host/paths.ts';
import { SERVICE_ACCOUNT } from '../lib/kube/access.ts';
import { listen } from '../lib/kube/bounded-server.ts';
import { ownerMarks } from '../lib/proof/sandbox.ts';
import { handlersOf, type Report, type Status } from '../lib/report/report.ts';
import { STARTING } from '../lib/report/verdict.ts';
import { RunscPrograms } from '../lib/runsc/program.ts';
import {
  additionalNodes,
  type NodeParts,
  openHandler,
  readNodeFacts,
  SHUTDOWN_TIMEOUT_MS,
} from './handler.ts';
import { Metrics } from './http/metrics.ts';
import { createAgentServer } from './http/server.ts';
import { once } from './once.ts';
import { withConfiguration } from './pods/restart.ts';
import { ProofTurns } from './proof/turns.ts';
import { openApiPublisher } from './publish/api.ts';
import type { NodeSeen, Said } from './publish/desired.ts';
import { NO_VERDICT } from './publish/publisher.ts';
import { EXIT_CODES, helpText, parseArguments } from './start/cli.ts';
import { parseConfig } from './start/config.ts';
import { SENTENCES, writeLine } from './start/log.ts';
import { watchContainerd } from './trigger/containerd.ts';
import { onFailedStart } from './trigger/failed-start.ts';
import { openWorkloads } from './workloads.ts';

const FIRST_EVALUATION_MS = 120_000;
/** Later than the main handler's, whose boot comes first. */
const ADDITIONAL_DEBOUNCE_MS = 300;

// No top-level await: the image's bundle is CommonJS.
void main().then((code) => {
  process.exitCode = code;
});

async function main(): Promise<number> {
  const args = parseArguments(process.argv.slice(2));
  if ('problem' in args) return printProblems([args.problem]);
  if (args.help) return print(helpText(VERSION));
  if (args.version) return print(`${VERSION}\n`);
  const inCluster = existsSync(`${SERVICE_ACCOUNT}/token`);
  const { config, problems } = parseConfig(process.env, { hostname: hostname(), inCluster });
  if (problems.length > 0) return printProblems(problems);
  const base = { node: config.nodeName };
  const log = args.once ? openLog('warn', base, SENTENCES) : openLog(config.logLevel, base);
  const host = new Host(config.hostRoot);
  const distribution = await readDistribution(host).catch(errorLine);
  if (typeof distribution === 'string')
    return printProblems([`Cannot detect this node's containerd: ${distribution}`], EXIT_CODES.Unknown);
  const socket = config.criSocket ?? distribution.criSocket;
  using client = new CriClient(socket, await findSocket(host, socket, log));
  const programs = new RunscPrograms();
  // Never this pod's marks with `--once`: its probe must not be taken for the agent's own.
  const marks = ownerMarks(1 + config.additionalHandlers.length, args.once ? undefined : config.podUid);
  // A view of the host of its own: file operations are serialized, so a stalled check would stall the proof.
  const probes = { host: new Host(config.hostRoot), turns: new ProofTurns(), marks };
  const signal = stopSignal();
  const [mark = ''] = marks;
  const node: NodeParts = { config, log, host, distribution, client, programs, mark, probes, signal };
  // Awaited here, because `using` closes the client on return.
  return await (args.once ? once(node, args.json) : daemon(node));
}

/** Runs until a signal ends the process. */
async function daemon(node: NodeParts): Promise<number> {
  const { config, log, host, client, distribution, signal } = node;
  const metrics = new Metrics(VERSION, config.handler, config.proofIntervalMs);
  const say = (handler: string, seen: NodeSeen): Said =>
    handlers.find(({ name }) => name === handler)?.announcer.say(seen) ?? { verdict: STARTING };
  const { countRequest: count } = metrics;
  const api = await openApiPublisher(config, { version: VERSION, host, count, say, log }).catch(errorLine);
  if (typeof api === 'string') return printProblems([api]);

  const evaluated = Promise.withResolvers<void>();
  const sinks = {
    count: (report: Report) => {
      metrics.count(report);
      if (report.handler === config.handler) evaluated.resolve();
    },
    show: (report: Report) => metrics.publish(report),
    write: (report: Report) => api?.node.publish(report),
  };
  const onChange = () => sandboxes.changed();
  const main = openHandler(node, { ...sinks, facts: await readNodeFacts(node), onChange, metrics });
  const additional = additionalNodes(node).map((each) =>
    openHandler(each, { ...sinks, facts: {}, onChange, debounceMs: ADDITIONAL_DEBOUNCE_MS }),
  );
  const handlers = [main, ...additional];

  const { pods, namespaces, sandboxes, evidence } = openWorkloads(node, handlers, {
    metrics,
    api,
    onFailedStart: () => {
      for (const { agent, queue } of handlers) onFailedStart(agent, () => queue.push({ kind: 'pods' }));
    },
    onOutside: (names) => {
      for (const { name, queue } of handlers) if (names.has(name)) queue.push({ kind: 'pods' });
    },
    writeEvidence: config.evidence ? writeLine : undefined,
  });
  const complete = (report: Report): Status => {
    const others = additional.flatMap(({ announcer }) => announcer.report ?? []);
    const findings = [report, ...others].map((each) => each.findings);
    return {
      ...report,
      ...handlersOf(others),
      pods: pods.report(),
      sandboxes: withConfiguration(sandboxes.report(), findings),
      nodeWrites: api?.node.nodeWrites,
    };
  };
  const server = createAgentServer({
    metrics: () => metrics.text(),
    report: () => main.announcer.report && complete(main.announcer.report),
    live: () => handlers.every(({ agent }) => agent.live),
    unready: () => (main.announcer.hasVerdict ? api?.node.unready : NO_VERDICT),
  });
  const problem = config.listen && (await listen(server, config.listen));
  if (problem !== undefined) return printProblems([problem]);
  const started = { version: VERSION, handler: config.handler, socket: client.socket };
  log.info({ ...started, distribution: distribution.name, listening: server.address() }, 'agent started');
  await Promise.all([
    main.agent.run(main.queue, signal),
    // The main handler's first evaluation comes first.
    ...additional.map(async ({ agent, queue }) => {
      await waitUpTo(evaluated.promise, FIRST_EVALUATION_MS, signal);
      await agent.run(queue, signal);
    }),
    watchContainerd(
      client,
      (state) => {
        for (const { queue } of handlers) queue.push({ kind: 'containerd', state });
      },
      signal,
    ),
    pods.run(signal),
    sandboxes.run(signal),
    evidence?.run(signal),
    api?.run(signal, namespaces),
  ]);
  await Promise.all(handlers.map(({ prover }) => prover.finish(SHUTDOWN_TIMEOUT_MS)));
  log.info('agent stopped; labels stay as they are');
  server.close();
  for (const { files } of handlers) files.close();
  return 0;
}

/** A path that does not work if the socket is outside of the agent's mounts. */
async function findSocket(host: Host, socket: string, log: Logger): Promise<string> {
  return localSocket(host, socket).catch((error: NotVisible) => {
    log.error(`containerd's socket cannot be reached: ${error.message}`);
    return join(host.root, socket);
  });
}

function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  return stop.signal;
}
