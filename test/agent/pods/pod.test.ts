import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  isOpen,
  judgeSandbox,
  type Pod,
  podsReport,
  type SandboxFacts,
  weakenedPods,
} from '../../../agent/pods/pod.ts';

describe('judgeSandbox', () => {
  const table: readonly [
    what: string,
    facts: SandboxFacts,
    sandboxed: boolean | undefined,
    evidence: string,
  ][] = [
    [
      "gVisor's sandbox process",
      { runtimeType: 'io.containerd.runsc.v1', pid: 7, argv: ['runsc-sandbox', '--root=/run', ''] },
      true,
      'process 7 is "runsc-sandbox"',
    ],
    [
      'a prewarmed process of a newer release',
      {
        runtimeType: 'io.containerd.runsc.v1',
        pid: 7,
        argv: ['gvisor-sentry-prewarmer', '/usr/bin/runsc', 'runsc-sandbox'],
      },
      true,
      'process 7 is "gvisor-sentry-prewarmer"',
    ],
    [
      'runc',
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: ['/pause'] },
      false,
      'process 7 is "/pause"',
    ],
    [
      "runc in disguise: gVisor's type, and a pause process",
      { runtimeType: 'io.containerd.runsc.v1', pid: 7, argv: ['/pause'] },
      false,
      'process 7 is "/pause"',
    ],
    [
      "a process with gVisor's name among its arguments",
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: ['/pause', 'runsc-sandbox'] },
      false,
      'process 7 is "/pause"',
    ],
    [
      "runsc as the binary of runc's shim",
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: ['runsc-sandbox'] },
      true,
      'process 7 is "runsc-sandbox"',
    ],
    [
      "a process that calls itself gVisor's, and a runtime that reports the host's own PIDs",
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: ['runsc-sandbox'], runtimePids: [7, 9] },
      false,
      'process 7 is "runsc-sandbox", and the runtime reports the host\'s own PID 7',
    ],
    [
      'a program name with control characters and a line break',
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: ['pause\u001b[2J\nEvents:  \u009bnone', 'x'] },
      false,
      'process 7 is "pause\ufffd[2J Events: \ufffdnone"',
    ],
    [
      "gVisor's type without a process",
      { runtimeType: 'io.containerd.runsc.v1' },
      true,
      'its runtime is io.containerd.runsc.v1',
    ],
    [
      "runc's type without arguments",
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: [''] },
      false,
      'its runtime is io.containerd.runc.v2',
    ],
    [
      'another type without a process',
      { runtimeType: 'io.containerd.kata.v2' },
      undefined,
      'unknown runtime "io.containerd.kata.v2"',
    ],
    ['no type and no process', { runtimeType: '' }, undefined, 'unknown runtime ""'],
  ];
  for (const [what, facts, sandboxed, evidence] of table) {
    it(`${what}: ${sandboxed}`, () => {
      assert.deepEqual(judgeSandbox(facts), { ...(sandboxed === undefined ? {} : { sandboxed }), evidence });
    });
  }
});

describe('weakenedPods', () => {
  const podWith = (argv: readonly string[], annotations: Readonly<Record<string, string>> = {}): Pod => ({
    namespace: 'eval',
    name: 'a',
    uid: 'uid-a',
    handler: 'runsc',
    ...judgeSandbox({
      runtimeType: 'io.containerd.runsc.v1',
      pid: 7,
      argv: ['runsc-sandbox', '--platform=systrap', ...argv, 'boot'],
      annotations: new Map(Object.entries(annotations)),
    }),
  });
  const HOST_UDS = podWith(['--host-uds=all']);
  const NET_RAW = podWith(['--net-raw=true']);
  const NEWER = podWith(['--next-year=1']);
  const TPU = podWith([], { 'dev.gvisor.internal.tpuproxy': 'true' });
  const probe = (flags: Readonly<Record<string, string>>, handler = 'runsc') => ({ handler, flags });
  const TABLE: readonly (readonly [what: string, Pod, ReturnType<typeof probe> | undefined, string[]])[] = [
    ['defaults', podWith([]), probe({}), []],
    ['a flag that weakens nothing', podWith(['--debug=true']), probe({}), []],
    ['a way out that the probe does not have', HOST_UDS, probe({}), ['host-uds']],
    ['a way out that the probe has too', HOST_UDS, probe({ 'host-uds': 'all' }), ['host-uds']],
    ['a way out of another handler', HOST_UDS, probe({}, 'runsc-kvm'), ['host-uds']],
    ['a way out before the first probe', HOST_UDS, undefined, ['host-uds']],
    ['less protection than the probe', NET_RAW, probe({}), ['net-raw']],
    ['less protection, the same as the probe', NET_RAW, probe({ 'net-raw': 'true' }), []],
    ['less protection of another handler', NET_RAW, probe({}, 'runsc-kvm'), []],
    ['less protection before the first probe', NET_RAW, undefined, []],
    ['an unknown flag that the probe does not have', NEWER, probe({}), ['next-year']],
    ['an unknown flag with another value', NEWER, probe({ 'next-year': '0' }), ['next-year']],
    ['an unknown flag that the probe has too', NEWER, probe({ 'next-year': '1' }), []],
    ['an annotation, whatever the probe', TPU, undefined, ['dev.gvisor.internal.tpuproxy']],
  ];
  for (const [what, pod, seen, flags] of TABLE) {
    it(`${what}: ${flags.join() || 'nothing'}`, () => {
      const weak = weakenedPods([pod], seen).flatMap((each) => each.weak.map(({ flag }) => flag));
      assert.deepEqual(weak, flags);
    });
  }

  it('names the weakness in the evidence, and which pods have a way out', () => {
    const [uds, tpu] = weakenedPods([HOST_UDS, TPU], undefined);
    assert.match(
      uds?.evidence ?? '',
      /^process 7 is "runsc-sandbox" with host-uds=all: pods can open or create Unix sockets/,
    );
    assert.deepEqual(
      [uds, tpu].map((pod) => pod && isOpen(pod)),
      [true, false],
    );
  });

  it('ignores a pod that only claims to be in gVisor', () => {
    const facts = { runtimeType: 'io.containerd.runc.v2', pid: 7, runtimePids: [7] };
    assert.equal('weak' in judgeSandbox({ ...facts, argv: ['runsc-sandbox', '--host-uds=all'] }), false);
  });
});

describe('podsReport', () => {
  const pod = (name: string, sandboxed?: boolean): Pod => ({
    namespace: 'eval',
    name,
    uid: name,
    handler: '',
    evidence: 'process 1 is "pause"',
    ...(sandboxed === undefined ? {} : { sandboxed }),
  });
  const [sandboxed, unknown, violating, permitted] = [
    pod('a', true),
    pod('b'),
    pod('c', false),
    pod('d', false),
  ];
  const weakened = [{ ...sandboxed, weak: [] }];
  const pods = [sandboxed, unknown, violating, permitted];
  const observed = { pods, unsandboxed: [violating], weakened, atMs: 0 };

  it('sorts pods by whether gVisor is required and used', () => {
    assert.deepEqual(podsReport(observed, true, 3_000), {
      at: '1970-01-01T00:00:00.000Z',
      stale: false,
      running: 4,
      requirementsKnown: true,
      violating: [violating],
      permitted: [permitted],
      unknown: [unknown],
      weakened,
      sandboxedUids: ['a'],
    });
  });

  for (const [ageMs, stale] of [
    [45_000, false],
    [45_001, true],
  ] as const)
    it(`is ${stale ? '' : 'not '}stale ${ageMs} ms after the last read`, () =>
      assert.equal(podsReport(observed, false, ageMs).stale, stale));
});
