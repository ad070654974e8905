import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  isOpen,
  judgeSandbox,
  type Pod,
  podCounts,
  podsReport,
  weakenedPods,
} from '../../../lib/pods/pod.ts';

describe('judgeSandbox', () => {
  const GVISOR = 'io.containerd.runsc.v1';
  const RUNC = 'io.containerd.runc.v2';
  const KATA = 'io.containerd.kata.v2';
  const PREWARMED = ['gvisor-sentry-prewarmer', '/usr/bin/runsc', 'runsc-sandbox'];
  const EVIL = 'pause\u001b[2J\nEvents:  \u009bnone';
  const OWN_PIDS = { runtimePids: [7, 9] };
  type Row = readonly [
    what: string,
    type: string,
    argv: readonly string[] | undefined,
    boolean | undefined,
    evidence: string,
    more?: object,
  ];
  // biome-ignore format: one row a line
  const table: readonly Row[] = [
    ["gVisor's sandbox process", GVISOR, ['runsc-sandbox', '--root=/run', ''], true, 'process 7 is "runsc-sandbox"'],
    ['a prewarmed process of a newer release', GVISOR, PREWARMED, true, 'process 7 is "gvisor-sentry-prewarmer"'],
    ['runc', RUNC, ['/pause'], false, 'process 7 is "/pause"'],
    ["runc in disguise: gVisor's type, and a pause process", GVISOR, ['/pause'], false, 'process 7 is "/pause"'],
    ["a process with gVisor's name among its arguments", RUNC, ['/pause', 'runsc-sandbox'], false, 'process 7 is "/pause"'],
    ["runsc as the binary of runc's shim", RUNC, ['runsc-sandbox'], true, 'process 7 is "runsc-sandbox"'],
    ["gVisor's name, and a runtime that reports the host's own PIDs", RUNC, ['runsc-sandbox'], false, 'process 7 is "runsc-sandbox", and the runtime reports the host\'s own PID 7', OWN_PIDS],
    ['a program name with control characters and a line break', RUNC, [EVIL, 'x'], false, 'process 7 is "pause\ufffd[2J Events: \ufffdnone"'],
    ["gVisor's type without a process", GVISOR, undefined, true, 'its runtime is io.containerd.runsc.v1'],
    ["runc's type without arguments", RUNC, [''], false, 'its runtime is io.containerd.runc.v2'],
    ['another type without a process', KATA, undefined, undefined, 'unknown runtime "io.containerd.kata.v2"'],
    ['no type and no process', '', undefined, undefined, 'unknown runtime ""'],
  ];
  for (const [what, runtimeType, argv, sandboxed, evidence, more] of table)
    it(`${what}: ${sandboxed}`, () => {
      const judged = judgeSandbox({ runtimeType, ...(argv && { pid: 7, argv }), ...more });
      assert.deepEqual(judged, { ...(sandboxed === undefined ? {} : { sandboxed }), evidence });
    });
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
      const weak = weakenedPods([pod], seen === undefined ? [] : [seen]).flatMap((each) =>
        each.weak.map(({ flag }) => flag),
      );
      assert.deepEqual(weak, flags);
    });
  }

  it('names the weakness in the evidence, and which pods have a way out', () => {
    const [uds, tpu] = weakenedPods([HOST_UDS, TPU], []);
    assert.match(
      uds?.evidence ?? '',
      /^process 7 is "runsc-sandbox" with host-uds=all: pods can open or create Unix sockets/,
    );
    assert.ok(uds && isOpen(uds) && tpu && !isOpen(tpu));
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
  const [sandboxed, unknown] = [pod('a', true), pod('b')];
  const [violating, permitted] = [pod('c', false), pod('d', false)];
  const weakened = [{ ...sandboxed, weak: [] }];
  const elsewhere = { ...pod('e'), namespace: 'elsewhere' };
  const pods = [sandboxed, unknown, violating, permitted, elsewhere];
  const REQUIRED = new Set(['eval']);
  const observed = { pods, unsandboxed: [violating], weakened, atMs: 0 };

  it('sorts pods by whether gVisor is required and used', () => {
    assert.deepEqual(podsReport(observed, REQUIRED, 3_000), {
      at: '1970-01-01T00:00:00.000Z',
      stale: false,
      running: 5,
      requirementsKnown: true,
      violating: [violating],
      permitted: [permitted],
      unknown: [unknown, elsewhere],
      unknownRequired: 1,
      weakened,
      sandboxedUids: ['a'],
    });
  });

  it('is counted where the requirements are known and it is not stale', () => {
    const counts = { violating: 1, weakened: 1, open: 0, unknown: 1 };
    assert.deepEqual(podCounts(podsReport(observed, REQUIRED, 3_000)), counts);
    for (const report of [
      undefined,
      podsReport(observed, undefined, 0),
      podsReport(observed, REQUIRED, 60_000),
    ])
      assert.equal(podCounts(report), undefined);
  });

  for (const [ageMs, stale] of [
    [45_000, false],
    [45_001, true],
  ] as const)
    it(`is ${stale ? '' : 'not '}stale ${ageMs} ms after the last read`, () =>
      assert.equal(podsReport(observed, undefined, ageMs).stale, stale));
});
