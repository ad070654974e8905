import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Agent } from './agent.ts';
import { type Config, parseConfig } from './config.ts';
import { CriClient } from './containerd/client.ts';
import { readDistribution, rememberConfigPath } from './containerd/distribution.ts';
import { evaluate, markTolerated } from './evaluate.ts';
import { Host, localSocket } from './host/host.ts';
import type { NotVisible } from './host/paths.ts';
import { readSystemFacts } from './host/system.ts';
import { Metrics } from './http/metrics.ts';
import { createAgentServer, listen, serverUrl } from './http/server.ts';
import { SERVICE_ACCOUNT } from './kube/access.ts';
import { openApiPublisher } from './node/api.ts';
import { PodReporter } from './node/events.ts';
import { PodMonitor } from './pods/monitor.ts';
import { RequiredNamespaces } from './pods/namespaces.ts';
import type { ObservedPods } from './pods/pod.ts';
import type { Unproven } from './proof/outcome.ts';
import { Prover } from './proof/prover.ts';
import type { Publisher, Report } from './report.ts';
import { RunscPrograms } from './runsc/program.ts';
import { errorLine } from './sanitize.ts';
import { complain, EXIT_CODES, helpText, lookOnce, parseArguments, print, screenOf } from './text/cli.ts';
import { openLog } from './text/log.ts';
import { TerminalPublisher } from './text/terminal.ts';
import { watchContainerd } from './trigger/containerd.ts';
import { EventQueue, isChange, type Trigger } from './trigger/event-queue.ts';
import { FileTrigger } from './trigger/files.ts';
import { VERSION } from './version.ts';

/** Somebody who looks once waits for the answer. */
const ONCE_PATIENCE_MS = 60_000;
/** Shutdown is quick: the pod has 15 s. */
const FINISH_MS = 10_000;

// No await: the image's bundle is CommonJS.
void main().then((code) => {
  process.exitCode = code;
});

async function main(): Promise<number> {
  const args = parseArguments(process.argv.slice(2));
  if ('problem' in args) return complain([args.problem]);
  if (args.help) return print(helpText(VERSION));
  if (args.version) return print(`${VERSION}\n`);
  const inCluster = existsSync(`${SERVICE_ACCOUNT}/token`);
  const { config, problems } = parseConfig(process.env, { hostname: hostname(), inCluster });
  return problems.length > 0 ? complain(problems) : start(config, args);
}

async function start(config: Config, args: { once: boolean; json: boolean }): Promise<number> {
  const { handler, requireLimits, forbidFlagOverride, minRunscRelease } = config;
  const people = process.stdout.isTTY && !args.json;
  const log = openLog(config, people || args.once);
  // What stalls a check, or a look at a pod, must not stall the proof.
  const host = new Host(config.hostRoot);
  const proofHost = new Host(config.hostRoot);
  const podsHost = new Host(config.hostRoot);
  const distribution = await readDistribution(host).catch(errorLine);
  if (typeof distribution === 'string')
    return complain(
      [`It cannot be told which containerd this node runs: ${distribution}`],
      EXIT_CODES.Unknown,
    );
  const socket = config.criSocket ?? distribution.criSocket;
  const local = await localSocket(host, socket).catch((hidden: NotVisible) => {
    log.error(`containerd's socket cannot be reached: ${hidden.message}`);
    return join(config.hostRoot, socket);
  });
  using client = new CriClient(socket, local);
  const now = () => performance.now();
  const metrics = new Metrics(VERSION, config.proofIntervalMs, config.expectGvisor);
  const programs = new RunscPrograms();
  const { edit } = distribution;
  const wanted = { requireLimits, forbidFlagOverride, minRunscRelease };
  const sources = { host, cri: client, handler, programs, edit, ...wanted };
  const bell = new EventQueue<Trigger>({ debounceMs: 50, maxDelayMs: 500, burst: 8, refillMs: 3_000, now });
  const files = new FileTrigger(host, (path) => bell.push({ kind: 'file', path }), {
    onUnwatched: (folders, why) => {
      metrics.publishUnwatched(folders);
      if (folders > 0)
        log.warn({ folders, why }, 'folders cannot be watched, so they are looked at every few seconds');
    },
  });
  const stop = new AbortController();
  const prover = new Prover({
    client,
    host: proofHost,
    handler,
    now,
    signal: stop.signal,
    ownPod: config.podUid,
    // One look beside the agent, in its own pod even, must not take the agent's probe for its own.
    owner: ((args.once ? undefined : config.podUid) ?? randomUUID()).replaceAll('-', '').slice(0, 16),
    wallMs: Date.now,
    ...(args.once ? { patienceMs: ONCE_PATIENCE_MS } : {}),
    onEnd: () => bell.push({ kind: 'boot' }),
    onLeft: (left) => {
      metrics.publishLeftovers(left);
      if (left > 0) log.warn({ left }, 'containerd cannot remove sandboxes of earlier probes');
    },
  });
  const publishers: Publisher[] = [metrics];
  const { countRequest: count, noteProvenOnce: provenOnce } = metrics;
  const known = { version: VERSION, host, count, provenOnce, log };
  const api = await openApiPublisher(config, known).catch(errorLine);
  if (typeof api === 'string') return complain([api]);
  if (api !== undefined && !args.once) publishers.push(api.node);
  const probe = () => prover.witness?.flags && { handler, flags: prover.witness.flags };
  const namespaces = new RequiredNamespaces(() => metrics.pods.heardNamespaces(Date.now()));
  if (api !== undefined) metrics.pods.followNamespaces();
  const podReporter = new PodReporter(log, api?.events);
  const onRead = (observed: ObservedPods, required: ReadonlySet<string>) => {
    metrics.pods.publish(observed, required);
    podReporter.publish(observed.unsandboxed, observed.weakened);
  };
  const pods = new PodMonitor({ client, host: podsHost, namespaces, onRead, probe, log });
  const complete = (report: Report) => ({ ...report, pods: pods.outside(), written: api?.node.written });
  const configPath = rememberConfigPath({ host, client, distribution, named: config.containerdConfig });
  const agent = new Agent({
    version: VERSION,
    node: config.nodeName,
    handler,
    facts: { distribution: distribution.name, ...(await readSystemFacts(host)) },
    evaluate: async (signal, triggers, last) => {
      // Told before anything is waited for: a look that ends early must not forget it.
      if (triggers.some(isChange)) prover.changed();
      const containerdConfig = await configPath();
      const seen = { ...sources, containerdConfig, shim: prover.witness?.shim };
      const prove = (inner: AbortSignal) => prover.prove(inner);
      const compare = (failed: Unproven, inner: AbortSignal) => prover.compare(failed, inner);
      return evaluate({ sources: seen, prove, compare, now, last, triggers }, signal);
    },
    markTolerated: (verdict) => markTolerated(verdict, host),
    queue: bell,
    files,
    publishers,
    thresholds: { confirmMs: config.confirmMs, graceMs: config.graceMs },
    proofIntervalMs: config.proofIntervalMs,
    log,
    now,
    date: () => new Date(),
  });
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  if (args.once) {
    const code = await lookOnce(
      { agent, json: args.json, readPods: (signal) => pods.readOnce(signal) },
      stop.signal,
    ).catch((error: unknown) => complain([`The look did not end: ${errorLine(error)}`], EXIT_CODES.Unknown));
    await prover.finish(FINISH_MS);
    files.close();
    return code;
  }

  const server = createAgentServer({
    metrics: () => metrics.text(),
    report: () => agent.report && complete(agent.report),
    live: () => agent.live,
    unready: () => (agent.settled ? api?.node.unready : 'the first verdict is not settled yet'),
  });
  const problem = config.listen && (await listen(server, config.listen));
  if (problem !== undefined) return complain([problem]);
  if (people) {
    const url = () => serverUrl(server);
    publishers.push(new TerminalPublisher({ write: print, screen: screenOf, complete, url }));
  }
  const started = { version: VERSION, handler, socket, distribution: distribution.name };
  log.info({ ...started, listening: server.address() }, 'agent started');
  await Promise.all([
    agent.run(stop.signal),
    watchContainerd(client, (is) => bell.push({ kind: 'containerd', is }), stop.signal),
    pods.run(stop.signal),
    api?.run(stop.signal, namespaces),
  ]);
  await prover.finish(FINISH_MS);
  log.info('agent stopped; labels stay as they are');
  server.close();
  files.close();
  return 0;
}
