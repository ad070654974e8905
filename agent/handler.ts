import { basename } from 'node:path';
import type { Logger } from 'pino';
import { VERSION } from '../lib/base/version.ts';
import type { CriClient } from '../lib/containerd/client.ts';
import type { Distribution } from '../lib/containerd/distribution.ts';
import { Host } from '../lib/host/host.ts';
import { installJournal, readInstallation } from '../lib/host/installation.ts';
import { readSystemFacts } from '../lib/host/system.ts';
import type { RunscPrograms } from '../lib/runsc/program.ts';
import { Agent, type AgentOptions } from './agent.ts';
import { Announcer, type AnnouncerOptions } from './announcer.ts';
import { NodeEvaluator, type NodeEvaluatorOptions } from './evaluate.ts';
import { hasTraces, isRegistered } from './expected.ts';
import type { Metrics } from './http/metrics.ts';
import { Prover, type ProverOptions } from './proof/prover.ts';
import type { ProofTurns } from './proof/turns.ts';
import type { Config } from './start/config.ts';
import { EventQueue, type Trigger } from './trigger/event-queue.ts';
import { FileTrigger } from './trigger/files.ts';

/** The kubelet kills the pod after 15 s. */
export const SHUTDOWN_TIMEOUT_MS = 10_000;
const DEBOUNCE_MS = 50;
const EVENT_QUEUE = { maxDelayMs: 500, burst: 8, refillMs: 3_000 };

const now = () => performance.now();
const date = () => new Date();

/** The parts that daemon and `--once` share, one set for each handler. */
export type NodeParts = {
  readonly config: Config;
  readonly log: Logger;
  readonly host: Host;
  readonly distribution: Distribution;
  readonly client: CriClient;
  readonly programs: RunscPrograms;
  readonly mark: string;
  readonly probes: { readonly host: Host; readonly turns: ProofTurns; readonly marks: readonly string[] };
  readonly signal: AbortSignal;
};

type Sinks = Pick<AnnouncerOptions, 'count' | 'show' | 'write'>;

/** They share a view of the host, so that their files do not stall the main handler's checks. */
export function additionalNodes(node: NodeParts): readonly NodeParts[] {
  const { config, log, probes } = node;
  const host = new Host(config.hostRoot);
  return config.additionalHandlers.map((handler, at) => {
    const mark = probes.marks[at + 1] ?? '';
    const own = { ...config, handler, expectGvisor: false };
    return { ...node, host, mark, config: own, log: log.child({ handler }) };
  });
}

type HandlerOptions = Pick<AgentOptions, 'facts'> &
  Sinks & {
    readonly metrics?: Metrics;
    readonly onChange: () => void;
    readonly debounceMs?: number;
  };

export function openHandler(node: NodeParts, options: HandlerOptions) {
  const { config, host, log } = node;
  const { metrics, onChange, debounceMs = DEBOUNCE_MS, ...own } = options;
  const queue = new EventQueue<Trigger>({ ...EVENT_QUEUE, debounceMs, now });
  const onFile = async (path: string) => {
    const isJournal = basename(path) === basename(installJournal(config.handler));
    if (!isJournal || (await agent.noteInstallation())) queue.push({ kind: 'file', path });
  };
  const files = new FileTrigger(host, onFile, {
    onUnwatched: (directories, why) => {
      metrics?.publishUnwatched(directories);
      if (directories > 0) log.warn({ directories, why }, 'directories cannot be watched and are polled');
    },
  });
  const opened = openAgent(
    node,
    { ...own, files },
    {
      onLateEnd: () => queue.push({ kind: 'probe' }),
      onOrphans: (orphans) => {
        metrics?.publishOrphans(orphans);
        if (orphans > 0) log.warn({ orphans }, 'containerd cannot remove sandboxes of earlier probes');
      },
      onChange,
    },
  );
  const { agent } = opened;
  return { ...opened, queue, files };
}

export function openAgent(
  node: NodeParts,
  { facts, files, ...sinks }: Pick<AgentOptions, 'facts' | 'files'> & Sinks,
  {
    onChange,
    ...options
  }: Pick<ProverOptions, 'onLateEnd' | 'onOrphans' | 'waitMs'> & Pick<NodeEvaluatorOptions, 'onChange'>,
) {
  const { config, client, host, mark, probes, log, signal } = node;
  const { handler, podUid: ownPod } = config;
  const siblings = probes.marks.filter((each) => each !== mark);
  const owned = { owner: mark, siblings, ownPod, turns: probes.turns };
  const clocks = { now, wallMs: Date.now };
  const prover = new Prover({ client, host: probes.host, handler, ...owned, signal, ...clocks, ...options });
  const evaluator = new NodeEvaluator({ ...node, prover, now, onChange });
  const installation = () => readInstallation(host, handler, Date.now());
  const isMain = mark === probes.marks[0];
  const traces = isMain ? hasTraces : isRegistered;
  const announcer = new Announcer({ ...sinks, expectGvisor: config.expectGvisor, traces, log, date });
  const known = { version: VERSION, config, facts, log, now, date };
  const agent = new Agent({ ...known, evaluator, installation, announcer, ...(files && { files }) });
  return { name: handler, agent, announcer, prover, evaluator };
}

export async function readNodeFacts({ host, distribution }: NodeParts) {
  return { distribution: distribution.name, ...(await readSystemFacts(host)) };
}
