import type { TestContext } from 'node:test';
import timers from 'node:timers/promises';
import pino from 'pino';
import { Announcer } from '../../../agent/announcer.ts';
import type { NodeSeen } from '../../../agent/publish/desired.ts';
import { NodePublisher, type PublisherOptions } from '../../../agent/publish/publisher.ts';
import { patient } from '../../../hack/run.ts';
import type { Report } from '../../../lib/report/report.ts';
import { type FakeApiServer, fakeApiServer } from '../../lib/kube/fake-api-server.ts';
import { reportOf, verdictOf } from '../reports.ts';

const STARTED = '2026-03-01T10:00:00.900Z';
/** Request that writes labels, annotations and condition. */
export const WRITE = 'PATCH /api/v1/nodes/node-1/status application/strategic-merge-patch+json';
/** Dry run that the admission policy must refuse. */
export const DRY_RUN = 'PATCH /api/v1/nodes/node-2/status?dryRun=All application/strategic-merge-patch+json';
/** Request that finds the name of another Node, once. */
export const FIND = 'GET /api/v1/nodes?limit=2';
/** Request that writes the taint. */
export const WRITE_TAINT = 'PATCH /api/v1/nodes/node-1 application/merge-patch+json';
/** Request that reads the Node. */
export const READ = 'GET /api/v1/nodes/node-1';
/** Log message after a foreign change was reverted. */
export const RESTORED = 'restored a value that another client had changed';
export const READY_REPORT = reportOf({ expected: true });
export const BROKEN_REPORT = reportOf({ verdict: verdictOf('False', 'ShimNotFound'), expected: true });
export const BOOT = 'boot-2';
/** Longer pauses mean "until the next event". */
const FOREVER_MS = 2 ** 30;

type Wait = { readonly ms: number; readonly end: () => void };

/** A log, and a way to wait for one of its lines. */
export function logOf() {
  const lines: Record<string, unknown>[] = [];
  let next = Promise.withResolvers<void>();
  const log = pino(
    { level: 'debug' },
    {
      write(line: string) {
        lines.push(JSON.parse(line) as Record<string, unknown>);
        next.resolve();
      },
    },
  );
  /** Resolves with the next line with this message and drops the lines before it. */
  const logged = async (message: string) => {
    for (;;) {
      const at = lines.findIndex(({ msg }) => msg === message);
      if (at >= 0) return lines.splice(0, at + 1).at(-1) ?? {};
      await next.promise;
      next = Promise.withResolvers<void>();
    }
  };
  return { log, logged };
}

/** Replaces timers by pauses that the test ends, and randomness by its middle. */
export function mockPauses(t: TestContext) {
  t.mock.method(Math, 'random', () => 0.5);
  const waits: Wait[] = [];
  let next = Promise.withResolvers<void>();
  t.mock.method(timers, 'setTimeout', (ms: number, _value: unknown, { signal }: { signal: AbortSignal }) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    signal.addEventListener('abort', () => reject(signal.reason));
    if (signal.aborted) reject(signal.reason);
    if (ms < FOREVER_MS) {
      waits.push({ ms, end: resolve });
      next.resolve();
    }
    return promise;
  });
  /** Resolves with the first pause from this index on that is at least this long. */
  const pause = async (atLeastMs: number, from = 0): Promise<Wait> => {
    for (;;) {
      const found = waits.slice(from).find(({ ms }) => ms >= atLeastMs);
      if (found !== undefined) return found;
      await next.promise;
      next = Promise.withResolvers<void>();
    }
  };
  /** The length of each pause so far, in seconds. */
  const pauses = () => waits.map(({ ms }) => ms / 1_000);
  return { waits, pause, pauses };
}

/** Announcers of handlers, in place of their agents: `tell` announces an evaluation with this report. */
export function announcersOf(write: (report: Report) => void = () => {}) {
  const announcers = new Map<string, Announcer>();
  const of = (handler: string) => {
    const known = announcers.get(handler);
    if (known !== undefined) return known;
    const nothing = () => {};
    const log = pino({ level: 'silent' });
    const sinks = { count: nothing, show: nothing, write };
    const added = new Announcer({
      ...sinks,
      expectGvisor: false,
      traces: () => undefined,
      log,
      date: () => new Date(),
    });
    announcers.set(handler, added);
    return added;
  };
  const say = (handler: string, node: NodeSeen) => of(handler).say(node);
  const tell = (report: Report) => of(report.handler).evaluated(report, report.installation);
  return { say, tell };
}

/** A publisher of node-1 and what announces to it, with the real clocks. */
export function announcedPublisher(
  kube: PublisherOptions['kube'],
  log: PublisherOptions['log'],
  changes: Partial<PublisherOptions> = {},
) {
  const { say, tell } = announcersOf((report) => publisher.publish(report));
  const publisher = new NodePublisher({
    kube,
    node: 'node-1',
    taint: false,
    handlers: ['runsc'],
    fingerprint: '0.1.0+a',
    boot: BOOT,
    log,
    now: () => performance.now(),
    date: () => new Date(),
    say,
    ...changes,
  });
  return { publisher, say, tell };
}

/** A running publisher with a fake API server that `prepare` changes first; the test controls log, timers and clock. */
export async function publisherOf(
  t: TestContext,
  changes: Partial<PublisherOptions> = {},
  prepare: (server: FakeApiServer) => void = () => {},
) {
  const { server, kube } = await fakeApiServer(t);
  prepare(server);
  const { log, logged } = logOf();
  const clock = { nowMs: Date.parse(STARTED) };
  const changed: [reason: string, nodeUid: string][] = [];
  /** What the Node said of each handler when it was last asked what to say. */
  const seen = new Map<string, NodeSeen>();
  const { publisher, say, tell } = announcedPublisher(kube, log, {
    now: () => clock.nowMs,
    date: () => new Date(clock.nowMs),
    say: (handler, node) => {
      seen.set(handler, node);
      return say(handler, node);
    },
    onChange: ({ reason }, uid) => changed.push([reason, uid]),
    ...changes,
  });
  const time = mockPauses(t);
  const stop = new AbortController();
  const done = publisher.run(stop.signal);
  t.after(async () => {
    stop.abort();
    await done;
  });
  /** Publishes and waits for the write. */
  const publish = async (report: Report) => {
    tell(report);
    await logged('node written');
  };
  /** Waits for a failed write, ends the pause after it, and resolves with the error. */
  const retry = async () => {
    const { err } = await logged('cannot write the node');
    time.waits.at(-1)?.end();
    return (err as Error).message;
  };
  /** The reasons of the events sent so far. */
  const events = () => changed.map(([reason]) => reason);
  const isReady = () => waitUntil('the agent to be ready', () => publisher.unready === undefined);
  return {
    ...time,
    server,
    publisher,
    tell,
    seen,
    publish,
    logged,
    clock,
    stop,
    done,
    changed,
    events,
    retry,
    isReady,
  };
}

/** Resolves once the watch is open. */
export async function watched(server: FakeApiServer): Promise<void> {
  await waitUntil('the watch', () => server.open > 0);
}

/** Waits for a condition in real time, also while timers are mocked. */
export async function waitUntil(what: string, holds: () => boolean | undefined): Promise<void> {
  const deadline = performance.now() + patient(10_000);
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`Waited for ${what} in vain`);
    await new Promise((wake) => setImmediate(wake));
  }
}

/** A publisher that watches the Node and has written {@link READY_REPORT}; `server.requests` is empty. */
export async function readyPublisher(t: TestContext) {
  const all = await publisherOf(t);
  await watched(all.server);
  await all.publish(READY_REPORT);
  all.server.requests.length = 0;
  return all;
}
