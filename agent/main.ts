import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import type { Publisher, Report, Status } from './agent.ts';
import { Agent } from './agent.ts';
import { type Config, parseConfig, VERSION } from './config.ts';
import { CriClient } from './containerd/client.ts';
import { type Distribution, readDistribution } from './containerd/distribution.ts';
import { NodeEvaluator } from './evaluate.ts';
import { Host, localSocket } from './host/host.ts';
import { INSTALL_JOURNAL, readInstallation } from './host/installation.ts';
import type { NotVisible } from './host/paths.ts';
import { readSystemFacts } from './host/system.ts';
import { Metrics } from './http/metrics.ts';
import { createAgentServer, listen, serverUrl } from './http/server.ts';
import { SERVICE_ACCOUNT } from './kube/access.ts';
import { type ApiPublisher, openApiPublisher } from './node/api.ts';
import { PodReporter } from './node/events.ts';
import { PodMonitor } from './pods/monitor.ts';
import { RequiredNamespaces } from './pods/namespaces.ts';
import { Prover, type ProverOptions } from './proof/prover.ts';
import { ownerMark } from './proof/sandbox.ts';
import { RunscPrograms } from './runsc/program.ts';
import { SandboxMonitor } from './sandboxes/monitor.ts';
import { SandboxScanner } from './sandboxes/scanner.ts';
import { errorLine } from './sanitize.ts';
import { EXIT_CODES, helpText, parseArguments, print, printProblems, screenOf } from './text/cli.ts';
import { openLog } from './text/log.ts';
import { renderReport, TerminalPublisher } from './text/terminal.ts';
import { watchContainerd } from './trigger/containerd.ts';
import { EventQueue, type Trigger } from './trigger/event-queue.ts';
import { FileTrigger } from './trigger/files.ts';

/** A person waits for the result of `--once`, so it is worth waiting for a slow boot. */
const ONCE_BOOT_TIMEOUT_MS = 60_000;
/** The kubelet kills the pod after 15 s. */
const SHUTDOWN_TIMEOUT_MS = 10_000;
const EVENT_QUEUE = { debounceMs: 50, maxDelayMs: 500, burst: 8, refillMs: 3_000 };

const now = () => performance.now();
const date = () => new Date();

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
  const isTerminal = process.stdout.isTTY && !args.json;
  const log = openLog(config, isTerminal || args.once);
  const host = new Host(config.hostRoot);
  const distribution = await readDistribution(host).catch(errorLine);
  if (typeof distribution === 'string')
    return printProblems([`Cannot detect this node's containerd: ${distribution}`], EXIT_CODES.Unknown);
  const socket = config.criSocket ?? distribution.criSocket;
  using client = new CriClient(socket, await findSocket(host, socket, log));
  const programs = new RunscPrograms();
  const node: Node = { config, log, host, distribution, client, programs, signal: stopSignal() };
  // Awaited here, because `using` closes the client on return.
  return await (args.once ? once(node, args.json) : daemon(node, isTerminal));
}

/** What both modes share. */
type Node = {
  readonly config: Config;
  readonly log: Logger;
  readonly host: Host;
  readonly distribution: Distribution;
  readonly client: CriClient;
  /** Read once for checks and sandboxes. */
  readonly programs: RunscPrograms;
  readonly signal: AbortSignal;
};

/** Evaluates once without confirmation, prints the report, and returns the exit code. */
async function once(node: Node, json: boolean): Promise<number> {
  const { config, log, client, signal } = node;
  // Never this pod's mark: the agent's own probe must not be taken for this one's.
  const options = {
    owner: ownerMark(),
    waitMs: ONCE_BOOT_TIMEOUT_MS,
    onLateEnd: () => {},
    onOrphans: () => {},
  };
  const prover = openProver(node, options);
  const evaluator = new NodeEvaluator({ ...node, prover, now });
  const facts = await readNodeFacts(node);
  const agent = new Agent({ ...openAgent(node), facts, evaluator, publishers: [] });
  try {
    await agent.reconcile([{ kind: 'start' }], signal);
    if (agent.report === undefined) return EXIT_CODES.Unknown;
    const namespaces = new RequiredNamespaces();
    const podsHost = new Host(config.hostRoot);
    const pods = new PodMonitor({
      client,
      host: podsHost,
      namespaces,
      probe: () => evaluator.probeFlags,
      log,
    });
    const { verdict } = agent.report.evaluation;
    const found = await pods.readOnce(signal).catch(() => undefined);
    const sandboxes = openSandboxes(node, podsHost, pods);
    const scanned = await sandboxes.scanOnce(signal).catch(() => undefined);
    const status: Status = { ...agent.report, verdict, pods: found, sandboxes: scanned };
    print(json ? `${JSON.stringify(status, null, 2)}\n` : renderReport(status, screenOf()));
    return EXIT_CODES[verdict.status];
  } catch (error) {
    return printProblems([`The evaluation was interrupted: ${errorLine(error)}`], EXIT_CODES.Unknown);
  } finally {
    await prover.finish(SHUTDOWN_TIMEOUT_MS);
  }
}

/** Watches the node and publishes verdicts until a signal ends the process. */
async function daemon(node: Node, isTerminal: boolean): Promise<number> {
  const { config, log, host, client, distribution, signal } = node;
  const metrics = new Metrics(VERSION, config.proofIntervalMs, config.expectGvisor);
  const { countRequest: count, noteProvenOnce: onProvenOnce } = metrics;
  const api = await openApiPublisher(config, { version: VERSION, host, count, onProvenOnce, log }).catch(
    errorLine,
  );
  if (typeof api === 'string') return printProblems([api]);

  const queue = new EventQueue<Trigger>({ ...EVENT_QUEUE, now });
  const onFile = async (path: string) => {
    const isJournal = basename(path) === basename(INSTALL_JOURNAL);
    if (!isJournal || (await agent.noteInstallation())) queue.push({ kind: 'file', path });
  };
  const files = new FileTrigger(host, onFile, {
    onUnwatched: (directories, why) => {
      metrics.publishUnwatched(directories);
      if (directories > 0) log.warn({ directories, why }, 'directories cannot be watched and are polled');
    },
  });
  const prover = openProver(node, {
    owner: ownerMark(config.podUid),
    onLateEnd: () => queue.push({ kind: 'probe' }),
    onOrphans: (orphans) => {
      metrics.publishOrphans(orphans);
      if (orphans > 0) log.warn({ orphans }, 'containerd cannot remove sandboxes of earlier probes');
    },
  });
  const evaluator = new NodeEvaluator({ ...node, prover, now });
  const facts = await readNodeFacts(node);
  const publishers: Publisher[] = api === undefined ? [metrics] : [metrics, api.node];
  const agent = new Agent({ ...openAgent(node), facts, evaluator, files, publishers });

  const { pods, namespaces, sandboxes } = openPods(node, { metrics, evaluator, api });
  const complete = (report: Report): Status => ({
    ...report,
    pods: pods.report(),
    sandboxes: sandboxes.report(),
    nodeWrites: api?.node.nodeWrites,
  });
  const server = createAgentServer({
    metrics: () => metrics.text(),
    report: () => agent.report && complete(agent.report),
    live: () => agent.live,
    unready: () => (agent.hasVerdict ? api?.node.unready : 'no verdict has been published yet'),
  });
  const problem = config.listen && (await listen(server, config.listen));
  if (problem !== undefined) return printProblems([problem]);
  if (isTerminal) {
    const url = () => serverUrl(server);
    publishers.push(new TerminalPublisher({ write: print, screen: screenOf, complete, url }));
  }
  const started = { version: VERSION, handler: config.handler, socket: client.socket };
  log.info({ ...started, distribution: distribution.name, listening: server.address() }, 'agent started');
  await Promise.all([
    agent.run(queue, signal),
    watchContainerd(client, (state) => queue.push({ kind: 'containerd', state }), signal),
    pods.run(signal),
    sandboxes.run(signal),
    api?.run(signal, namespaces),
  ]);
  await prover.finish(SHUTDOWN_TIMEOUT_MS);
  log.info('agent stopped; labels stay as they are');
  server.close();
  files.close();
  return 0;
}

type PodSinks = {
  readonly metrics: Metrics;
  readonly evaluator: NodeEvaluator;
  readonly api: ApiPublisher | undefined;
};

/**
 * The monitors of this node's pods and sandboxes, which report to metrics, log and events, and the namespaces that they
 * need to know.
 */
function openPods(node: Node, { metrics, evaluator, api }: PodSinks) {
  const { config, log, client } = node;
  const host = new Host(config.hostRoot);
  const namespaces = new RequiredNamespaces(() => metrics.pods.setNamespacesUpdated(Date.now()));
  if (api !== undefined) metrics.pods.watchNamespaces();
  const podReporter = new PodReporter(log, api?.events);
  const pods = new PodMonitor({
    client,
    host,
    namespaces,
    probe: () => evaluator.probeFlags,
    onRead: (observed, required) => {
      metrics.pods.publish(observed, required);
      podReporter.publish(observed.unsandboxed, observed.weakened);
    },
    log,
  });
  return { pods, namespaces, sandboxes: openSandboxes(node, host, pods, metrics) };
}

function openSandboxes({ client, programs, log }: Node, host: Host, pods: PodMonitor, metrics?: Metrics) {
  const sentries = () => pods.sentries;
  const scanner = new SandboxScanner({ client, host, programs, sentries, now, wallMs: Date.now });
  return new SandboxMonitor({ scanner, host, log, wallMs: Date.now, onScan: metrics?.publishSandboxes });
}

/** What the agent of both modes has. */
function openAgent({ config, host, log }: Node) {
  const installation = () => readInstallation(host, Date.now());
  return { version: VERSION, config, installation, log, now, date };
}

/** A prover with a view of the host of its own: file operations are serialized, so a stalled check would stall the proof. */
function openProver(
  { config, client, signal }: Node,
  options: Pick<ProverOptions, 'owner' | 'onLateEnd' | 'onOrphans' | 'waitMs'>,
): Prover {
  const { handler, podUid: ownPod, hostRoot } = config;
  const host = new Host(hostRoot);
  return new Prover({ client, host, handler, ownPod, signal, now, wallMs: Date.now, ...options });
}

async function readNodeFacts({ host, distribution }: Node) {
  return { distribution: distribution.name, ...(await readSystemFacts(host)) };
}

/** Where this process finds containerd's socket; a path that does not work if the socket is outside of the agent's mounts. */
async function findSocket(host: Host, socket: string, log: Logger): Promise<string> {
  return localSocket(host, socket).catch((error: NotVisible) => {
    log.error(`containerd's socket cannot be reached: ${error.message}`);
    return join(host.root, socket);
  });
}

/** A signal that SIGINT and SIGTERM abort. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  return stop.signal;
}
