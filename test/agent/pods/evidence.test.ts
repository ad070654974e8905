import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it, mock, type TestContext } from 'node:test';
import pino from 'pino';
import { changesOf, Evidence, type EvidenceOptions } from '../../../agent/pods/evidence.ts';
import type { SeenSandbox } from '../../../lib/pods/pod-reader.ts';
import { RunscPrograms } from '../../../lib/runsc/program.ts';
import { TEXT_PAGES } from '../../lib/host/fake-process.ts';
import { tempHost } from '../../lib/host/temp-host.ts';
import { fakeContainerd } from '../../lib/proof/fake-containerd.ts';
import { fakeRunsc } from '../../lib/runsc/fake-runsc.ts';
import { waitUntil } from '../publish/publisher-of.ts';

const RUNSC = fakeRunsc();

/** A sandbox that runs, as far as it was examined: not at all, by its runtime alone, or by its process too. */
function seen(id: string, known: 'nothing' | 'runtime' | 'process', handler = 'runsc'): SeenSandbox {
  const pod = { namespace: 'eval', name: `pod-${id}`, uid: `uid-${id}`, handler, evidence: '' };
  const sandbox = { id, createdAt: 1e15, pod, runtimeType: '' };
  if (known === 'nothing') return sandbox;
  const judged = { ...sandbox, pod: { ...pod, sandboxed: true }, runtimeType: 'io.containerd.runsc.v1' };
  if (known === 'runtime') return judged;
  const process = { pid: 812, program: 'runsc-sandbox' };
  return {
    ...judged,
    process,
    sentry: { textPages: TEXT_PAGES, configPath: '', flags: { platform: 'kvm' } },
  };
}

describe('changesOf', () => {
  const runsc = ({ handler }: { handler: string }) => handler === 'runsc';
  const [nothing, runtime, process] = (['nothing', 'runtime', 'process'] as const).map((known) =>
    seen('a', known),
  ) as [SeenSandbox, SeenSandbox, SeenSandbox];
  const other = seen('b', 'process', 'kata');
  const none = () => false;
  /** Reads at 1 ms, 2 ms …; what each changes: event, sandbox, first and last seen. */
  for (const [what, reads, expected] of [
    ['a pod that runs', [[process], [process]], ['begin a 1-1']],
    ['a pod that ends', [[process], [process], []], ['begin a 1-1', 'end a 1-2']],
    ['a pod of another handler', [[other], []], []],
    ['more is seen', [[nothing], [runtime], [process]], ['begin a 1-1', 'change a 2-2', 'change a 3-3']],
    ['less is seen', [[process], [nothing], [runtime], []], ['begin a 1-1', 'end a 1-3']],
    [
      'its sandbox is replaced',
      [[process], [seen('c', 'process')]],
      ['begin a 1-1', 'begin c 2-2', 'end a 1-1'],
    ],
  ] as const)
    it(`tells of: ${what}`, () => {
      let known: ReturnType<typeof changesOf>['known'] = new Map();
      const told = reads.flatMap((sandboxes, at) => {
        const result = changesOf(known, { sandboxes, concerns: runsc, atMs: at + 1 });
        known = result.known;
        return result.changes.map(
          (change) => `${change.event} ${change.seen.id} ${change.fromMs}-${change.toMs}`,
        );
      });
      assert.deepEqual(told, expected);
    });

  it('follows a pod whose namespace no longer requires gVisor to its end', () => {
    const { known } = changesOf(new Map(), { sandboxes: [other], concerns: () => true, atMs: 1 });
    const later = changesOf(known, { sandboxes: [other], concerns: none, atMs: 2 });
    assert.deepEqual(later.changes, []);
    const [end] = changesOf(later.known, { sandboxes: [], concerns: none, atMs: 3 }).changes;
    assert.deepEqual([end?.event, end?.toMs], ['end', 2]);
  });
});

type Line = Readonly<Record<string, unknown>>;

async function setUp(t: TestContext, listed: readonly object[] = [], more: Partial<EvidenceOptions> = {}) {
  const host = await tempHost(t, {
    '/proc/sys/kernel/random/boot_id': 'boot-1\n',
    '/usr/local/bin/runsc': RUNSC,
  });
  const { client, containerd } = await fakeContainerd(t, {
    ListPodSandbox: ({ filter }) => ({
      items: listed.filter(
        (each) => !filter?.state || (each as { state: string }).state === filter.state.state,
      ),
    }),
    PodSandboxStatus: () => ({ info: { info: '{"pid":812,"runtimeType":"io.containerd.runc.v2"}' } }),
    ListContainers: () => ({
      containers: ['old', 'older', 'sidecar'].map((id) => ({
        id,
        podSandboxId: 'own',
        state: 'CONTAINER_EXITED',
      })),
    }),
    ContainerStatus: ({ containerId }) => ({
      status: {
        metadata: { name: containerId === 'sidecar' ? 'proxy' : 'gvisor-ready-agent' },
        finishedAt: { older: 1e15, old: 2e15, sidecar: 3e15 }[containerId as 'old'],
      },
    }),
  });
  const lines: Line[] = [];
  const evidence = new Evidence({
    client,
    host,
    programs: new RunscPrograms(),
    node: 'node-1',
    handlers: ['runsc'],
    podUid: 'uid-own',
    log: pino({ level: 'silent' }),
    startMs: 0,
    write: async (line) => void lines.push(JSON.parse(line)),
    ...more,
  });
  const stop = new AbortController();
  const done = evidence.run(stop.signal);
  t.after(() => {
    stop.abort();
    return done;
  });
  const until = (count: number) => waitUntil('the lines', () => lines.length >= count);
  return { evidence, containerd, lines, until, stop, done };
}

const listedAs = (id: string, state: string, namespace: string, runtimeHandler = '') => {
  return {
    id,
    state,
    createdAt: 1e15,
    runtimeHandler,
    metadata: { name: `pod-${id}`, namespace, uid: `uid-${id}` },
  };
};

describe('Evidence', () => {
  it('says of a pod what was seen, with the program that its sentry runs, and when it was last seen', async (t) => {
    const { evidence, lines, until } = await setUp(t);
    const sandbox = seen('a', 'process');
    evidence.note([sandbox], new Set());
    evidence.note([], new Set());
    await until(3);
    const [gap, begin, end] = lines;
    assert.deepEqual([gap?.event, gap?.cause, gap?.from], ['gap', 'agent', undefined]);
    const digest = `sha512:${createHash('sha512').update(RUNSC.program).digest('hex')}`;
    const { time: _, agent, from, to: __, ...facts } = begin as Line;
    assert.deepEqual(facts, {
      level: 'info',
      node: 'node-1',
      schema: 'gvisor-ready.dev/evidence/v1',
      event: 'begin',
      boot: 'boot-1',
      sequence: 2,
      namespace: 'eval',
      pod: 'pod-a',
      uid: 'uid-a',
      handler: 'runsc',
      sandbox: 'a',
      created: '1970-01-12T13:46:40.000Z',
      gvisor: true,
      runtime: 'io.containerd.runsc.v1',
      process: { pid: 812, program: 'runsc-sandbox' },
      sentry: {
        path: '/usr/local/bin/runsc',
        release: 'release-20260223.0',
        digest,
        flags: { platform: 'kvm' },
      },
      msg: 'evidence',
    });
    assert.deepEqual([end?.event, end?.sequence, end?.agent, end?.from], ['end', 3, agent, from]);
    assert.deepEqual(end?.sentry, begin?.sentry);
  });

  it('tells of pods that ended unseen once, and when the last agent ended', async (t) => {
    const { evidence, containerd, lines, until } = await setUp(t, [
      listedAs('own', 'SANDBOX_READY', 'gvisor-ready'),
      listedAs('by-handler', 'SANDBOX_NOTREADY', 'any', 'runsc'),
      listedAs('by-namespace', 'SANDBOX_NOTREADY', 'required'),
      listedAs('other', 'SANDBOX_NOTREADY', 'any'),
      {
        ...listedAs('probe', 'SANDBOX_NOTREADY', 'gvisor-ready', 'runsc'),
        metadata: { uid: 'gvisor-probe-1' },
      },
    ]);
    mock.method(performance, 'now', () => nowMs);
    t.after(() => mock.restoreAll());
    let nowMs = 1e6;
    evidence.note([], new Set(['required']));
    await until(3);
    nowMs += 60_000;
    evidence.note([seen('a', 'runtime')], new Set(['required']));
    await waitUntil('another list', () => containerd.count('ListPodSandbox') === 3);
    nowMs += 1_000;
    evidence.note([], new Set(['required']));
    await until(6);
    assert.deepEqual(
      lines.map(({ event, sandbox, cause }) => `${event} ${sandbox ?? cause}`),
      ['gap agent', 'end by-handler', 'end by-namespace', 'gap containerd', 'begin a', 'end a'],
    );
    assert.equal(lines[0]?.from, '1970-01-24T03:33:20.000Z');
    const { gvisor, runtime, process, from } = lines[1] as Line;
    assert.deepEqual([gvisor, runtime, process, from], [null, 'io.containerd.runc.v2', undefined, undefined]);
  });

  it('waits for nobody who does not read, counts what it could not keep, and ends', async (t) => {
    const taken = Promise.withResolvers<void>();
    const lines: Line[] = [];
    const write = async (line: string) => {
      await taken.promise;
      lines.push(JSON.parse(line));
    };
    const { evidence, stop, done } = await setUp(t, [], { write });
    for (let read = 0; read < 1_000; read++) evidence.note([seen(String(read), 'process')], new Set());
    taken.resolve();
    await waitUntil('the lines', () => lines.length > 1_000);
    assert.deepEqual([lines.at(-1)?.event, lines.at(-1)?.cause, lines.at(-1)?.lost], ['gap', 'log', 1_000]);
    const begun = Promise.withResolvers<void>();
    const hang = () => {
      begun.resolve();
      return Promise.withResolvers<void>().promise;
    };
    const never = await setUp(t, [], { write: hang });
    never.evidence.note([], new Set());
    await begun.promise;
    for (const each of [{ stop, done }, never]) {
      each.stop.abort();
      await each.done;
    }
  });
});
