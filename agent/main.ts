import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import {
  Agent,
  type AgentOptions,
  handlerReportOf,
  type NodeSeen,
  type Publisher,
  type Report,
  type Status,
} from './agent.ts';
import { waitUpTo } from './async.ts';
import { type Config, parseConfig, VERSION } from './config.ts';
import { CriClient } from './containerd/client.ts';
import { type Distribution, readDistribution } from './containerd/distribution.ts';
import { NodeEvaluator } from './evaluate.ts';
import { hasTraces, isRegistered } from './expected.ts';
import { Host, localSocket } from './host/host.ts';
import { installJournal, readInstallation } from './host/installation.ts';
import type { NotVisible } from './host/paths.ts';
import { type Facts, readSystemFacts } from './host/system.ts';
import { Metrics } from './http/metrics.ts';
import { createAgentServer, listen, serverUrl } from './http/server.ts';
import { SERVICE_ACCOUNT } from './kube/access.ts';
import { type ApiPublisher, openApiPublisher } from './node/api.ts';
import { PodReporter } from './node/events.ts';
import { NO_VERDICT } from './node/publisher.ts';
import { PodMonitor } from './pods/monitor.ts';
import { RequiredNamespaces } from './pods/namespaces.ts';
import type { ProbeFlags } from './pods/pod.ts';
import { Prover, type ProverOptions } from './proof/prover.ts';
import { ownerMarks } from './proof/sandbox.ts';
import { Turns } from './proof/turns.ts';
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
const FIRST_EVALUATION_MS = 120_000;
/** Later than the main handler's, whose boot comes first. */
const ADDITIONAL_DEBOUNCE_MS = 300;

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
  // Never this pod's marks with `--once`: its probe must not be taken for the agent's own.
  const marks = ownerMarks(1 + config.additionalHandlers.length, args.once ? undefined : config.podUid);
  // A view of the host of its own: file operations are serialized, so a stalled check would stall the proof.
  const probes = { host: new Host(config.hostRoot), turns: new Turns(), marks };
  const signal = stopSignal();
  const node: Node = {
    config,
    log,
    host,
    distribution,
    client,
    programs,
    mark: marks[0] ?? '',
    probes,
    signal,
  };
  // Awaited here, because `using` closes the client on return.
  return await (args.once ? once(node, args.json) : daemon(node, isTerminal));
}

/** What both modes share. With additional handlers there is one for each, whose config names its own handler. */
type Node = {
  readonly config: Config;
  readonly log: Logger;
  readonly host: Host;
  readonly distribution: Distribution;
  readonly client: CriClient;
  /** Read once for checks and sandboxes. */
  readonly programs: RunscPrograms;
  /** Marks the handler's probes. */
  readonly mark: string;
  /** What the probes of all handlers share. */
  readonly probes: { readonly host: Host; readonly turns: Turns; readonly marks: readonly string[] };
  readonly signal: AbortSignal;
};

/** The nodes of the additional handlers. They share a view of the host, so that their files do not stall the main one's checks. */
function additionalNodes(node: Node): readonly Node[] {
  const { config, log, probes } = node;
  const host = new Host(config.hostRoot);
  return config.additionalHandlers.map((handler, at) => {
    const mark = probes.marks[at + 1] ?? '';
    return {
      ...node,
      host,
      mark,
      config: { ...config, handler, expectGvisor: false },
      log: log.child({ handler }),
    };
  });
}

/** Evaluates once without confirmation, prints the report, and returns the exit code, which is the main handler's. */
async function once(node: Node, json: boolean): Promise<number> {
  const { config, log, client, signal } = node;
  const facts = await readNodeFacts(node);
  const options = { waitMs: ONCE_BOOT_TIMEOUT_MS, onLateEnd: () => {}, onOrphans: () => {} };
  const handlers = [node, ...additionalNodes(node)].map((each) =>
    openAgent(each, { facts: each === node ? facts : {}, publishers: [] }, options),
  );
  try {
    const reports: Report[] = [];
    for (const { agent } of handlers) {
      await agent.reconcile([{ kind: 'start' }], signal);
      if (agent.report !== undefined) reports.push(agent.report);
    }
    const [report, ...additional] = reports;
    if (report === undefined) return EXIT_CODES.Unknown;
    const namespaces = new RequiredNamespaces();
    const podsHost = new Host(config.hostRoot);
    const probes = () => handlers.flatMap(({ evaluator }) => evaluator.probeFlags ?? []);
    const pods = new PodMonitor({ client, host: podsHost, namespaces, probes, log });
    const { verdict } = report.evaluation;
    const found = await pods.readOnce(signal).catch(() => undefined);
    const sandboxes = openSandboxes(node, podsHost, pods);
    const scanned = await sandboxes.scanOnce(signal).catch(() => undefined);
    const status: Status = {
      ...report,
      verdict,
      ...withHandlers(additional.map((each) => ({ ...each, verdict: each.evaluation.verdict }))),
      pods: found,
      sandboxes: scanned,
    };
    print(json ? `${JSON.stringify(status, null, 2)}\n` : renderReport(status, screenOf()));
    return EXIT_CODES[verdict.status];
  } catch (error) {
    return printProblems([`The evaluation was interrupted: ${errorLine(error)}`], EXIT_CODES.Unknown);
  } finally {
    await Promise.all(handlers.map(({ prover }) => prover.finish(SHUTDOWN_TIMEOUT_MS)));
  }
}

/** Nothing without additional handlers. */
function withHandlers(reports: readonly Report[]): Pick<Status, 'handlers'> {
  return reports.length === 0 ? {} : { handlers: reports.map(handlerReportOf) };
}

/** Watches the node and publishes verdicts until a signal ends the process. */
async function daemon(node: Node, isTerminal: boolean): Promise<number> {
  const { config, log, host, client, distribution, signal } = node;
  const metrics = new Metrics(VERSION, config.handler, config.proofIntervalMs);
  const onNode = (handler: string, seen: NodeSeen) =>
    handlers.find(({ name }) => name === handler)?.agent.noteNode(seen);
  const { countRequest: count } = metrics;
  const api = await openApiPublisher(config, { version: VERSION, host, count, onNode, log }).catch(errorLine);
  if (typeof api === 'string') return printProblems([api]);

  const publishers: Publisher[] = api === undefined ? [metrics] : [metrics, api.node];
  const evaluated = Promise.withResolvers<void>();
  publishers.push({
    publish: () => {},
    count: ({ handler }) => handler === config.handler && evaluated.resolve(),
  });
  const main = openHandler(node, await readNodeFacts(node), publishers, {
    onUnwatched: metrics.publishUnwatched,
    onOrphans: metrics.publishOrphans,
  });
  const additional = additionalNodes(node).map((each) =>
    openHandler(each, {}, publishers, { debounceMs: ADDITIONAL_DEBOUNCE_MS }),
  );
  const handlers = [main, ...additional];

  const probes = () => handlers.flatMap(({ evaluator }) => evaluator.probeFlags ?? []);
  const { pods, namespaces, sandboxes } = openPods(node, { metrics, probes, api });
  const complete = (report: Report): Status => ({
    ...report,
    ...withHandlers(additional.flatMap(({ agent }) => agent.report ?? [])),
    pods: pods.report(),
    sandboxes: sandboxes.report(),
    nodeWrites: api?.node.nodeWrites,
  });
  const server = createAgentServer({
    metrics: () => metrics.text(),
    report: () => main.agent.report && complete(main.agent.report),
    live: () => handlers.every(({ agent }) => agent.live),
    unready: () => (main.agent.hasVerdict ? api?.node.unready : NO_VERDICT),
  });
  const problem = config.listen && (await listen(server, config.listen));
  if (problem !== undefined) return printProblems([problem]);
  if (isTerminal) {
    const url = () => serverUrl(server);
    const terminal = new TerminalPublisher({ write: print, screen: screenOf, complete, url });
    const { agent } = main;
    publishers.push({ publish: () => agent.hasVerdict && agent.report && terminal.publish(agent.report) });
  }
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
    api?.run(signal, namespaces),
  ]);
  await Promise.all(handlers.map(({ prover }) => prover.finish(SHUTDOWN_TIMEOUT_MS)));
  log.info('agent stopped; labels stay as they are');
  server.close();
  for (const { files } of handlers) files.close();
  return 0;
}

type HandlerOptions = {
  readonly onUnwatched?: (directories: number) => void;
  readonly onOrphans?: (orphans: number) => void;
  readonly debounceMs?: number;
};

/** The loop that proves one handler, with its triggers. */
function openHandler(
  node: Node,
  facts: Facts,
  publishers: readonly Publisher[],
  { onUnwatched, onOrphans, ...debounce }: HandlerOptions,
) {
  const { config, host, log } = node;
  const queue = new EventQueue<Trigger>({ ...EVENT_QUEUE, ...debounce, now });
  const onFile = async (path: string) => {
    const isJournal = basename(path) === basename(installJournal(config.handler));
    if (!isJournal || (await agent.noteInstallation())) queue.push({ kind: 'file', path });
  };
  const files = new FileTrigger(host, onFile, {
    onUnwatched: (directories, why) => {
      onUnwatched?.(directories);
      if (directories > 0) log.warn({ directories, why }, 'directories cannot be watched and are polled');
    },
  });
  const opened = openAgent(
    node,
    { facts, files, publishers },
    {
      onLateEnd: () => queue.push({ kind: 'probe' }),
      onOrphans: (orphans) => {
        onOrphans?.(orphans);
        if (orphans > 0) log.warn({ orphans }, 'containerd cannot remove sandboxes of earlier probes');
      },
    },
  );
  const { agent } = opened;
  return { ...opened, queue, files };
}

type PodSinks = {
  readonly metrics: Metrics;
  readonly probes: () => readonly ProbeFlags[];
  readonly api: ApiPublisher | undefined;
};

/**
 * The monitors of this node's pods and sandboxes, which report to metrics, log and events, and the namespaces that they
 * need to know.
 */
function openPods(node: Node, { metrics, probes, api }: PodSinks) {
  const { config, log, client } = node;
  const host = new Host(config.hostRoot);
  const namespaces = new RequiredNamespaces(() => metrics.pods.setNamespacesUpdated(Date.now()));
  if (api !== undefined) metrics.pods.watchNamespaces();
  const podReporter = new PodReporter(log, api?.events);
  const pods = new PodMonitor({
    client,
    host,
    namespaces,
    probes,
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

/** The agent of one handler, with its prover and evaluator. */
function openAgent(
  node: Node,
  own: Pick<AgentOptions, 'facts' | 'files' | 'publishers'>,
  options: Pick<ProverOptions, 'onLateEnd' | 'onOrphans' | 'waitMs'>,
) {
  const { config, client, host, mark, probes, log, signal } = node;
  const { handler, podUid: ownPod } = config;
  const siblings = probes.marks.filter((each) => each !== mark);
  const owned = { owner: mark, siblings, ownPod, turns: probes.turns };
  const clocks = { now, wallMs: Date.now };
  const prover = new Prover({ client, host: probes.host, handler, ...owned, signal, ...clocks, ...options });
  const evaluator = new NodeEvaluator({ ...node, prover, now });
  const installation = () => readInstallation(host, handler, Date.now());
  const isMain = mark === probes.marks[0];
  const traces = isMain ? hasTraces : isRegistered;
  const agent = new Agent({
    version: VERSION,
    config,
    evaluator,
    installation,
    traces,
    log,
    now,
    date,
    ...own,
  });
  return { name: handler, agent, prover, evaluator };
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
