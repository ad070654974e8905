import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgeSandbox, type SandboxFacts } from '../../../agent/pods/pod.ts';

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
      'one that a newer release starts ahead of need',
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
      'a process that only carries the word among its arguments',
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
      "a process that calls itself gVisor's, and a runtime that tells the host's own PIDs",
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: ['runsc-sandbox'], runtimePids: [7, 9] },
      false,
      'process 7 is "runsc-sandbox", and the runtime tells the host\'s own PID 7',
    ],
    [
      'a program with a name that a terminal would act on, and that looks like two lines',
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: ['pause\u001b[2J\nEvents:  \u009bnone', 'x'] },
      false,
      'process 7 is "pause\ufffd[2J Events: \ufffdnone"',
    ],
    [
      "gVisor's type and no process to look at",
      { runtimeType: 'io.containerd.runsc.v1' },
      true,
      'its runtime is io.containerd.runsc.v1',
    ],
    [
      "runc's type and no process to look at",
      { runtimeType: 'io.containerd.runc.v2', pid: 7, argv: [''] },
      false,
      'its runtime is io.containerd.runc.v2',
    ],
    [
      'another type and no process to look at',
      { runtimeType: 'io.containerd.kata.v2' },
      undefined,
      'nothing tells what its runtime "io.containerd.kata.v2" is',
    ],
    ['nothing at all', { runtimeType: '' }, undefined, 'nothing tells what its runtime "" is'],
  ];
  for (const [what, facts, sandboxed, evidence] of table) {
    it(`${what}: ${sandboxed}`, () => {
      assert.deepEqual(judgeSandbox(facts), { ...(sandboxed === undefined ? {} : { sandboxed }), evidence });
    });
  }
});
