import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import timers from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { waitFor } from '../../../hack/run.ts';
import type { CriClient } from '../../../lib/containerd/client.ts';
import { sweepContainers, sweepSandboxes } from '../../../lib/proof/orphans.ts';
import { OWNER, PROBE_LABELS } from '../../../lib/proof/sandbox.ts';
import { HANGS, Refusal, refuses, type Script } from './containerd-scripts.ts';
import type { FakeContainerd } from './fake-containerd.ts';
import { gate, gvisorStarts, NEVER, onlyGvisor, POD_LABELS, proverScene, scene } from './scene.ts';

const NOW_MS = 1_800_000_000_000;
const HOUR_MS = 3_600_000;
const TIMES_OUT = refuses('no answer within 3 s', status.DEADLINE_EXCEEDED);
/** Scripts of a containerd that stops no sandbox. */
const UNSTOPPABLE = {
  StopPodSandbox: TIMES_OUT,
  RemovePodSandbox: refuses('busy'),
  'Tasks.Delete': refuses('busy'),
};
/** Scripts of a containerd that stops none of these sandboxes. */
const unstoppable = (containerd: FakeContainerd, ids: readonly string[]) =>
  Object.fromEntries(
    Object.keys(UNSTOPPABLE).map((method): [string, Script] => [
      method,
      (request) => {
        if (ids.includes(request.podSandboxId ?? request.containerId)) throw new Refusal('busy');
        return containerd.usual(method, request);
      },
    ]),
  );
const NO_START = { RunPodSandbox: refuses('context deadline exceeded') };
const UNDELETABLE = { 'Tasks.Delete': refuses('busy') };

const optionsOf = (client: CriClient) => ({ client, owner: 'me', wallMs: () => NOW_MS });
const proverOf = (t: TestContext, scripts: Readonly<Record<string, Script>> = {}) =>
  proverScene(t, scripts, { waitMs: 600_000 });
const addContainers = ({ sandboxes }: FakeContainerd, ...ids: string[]) => {
  for (const id of ids) sandboxes.records.set(id, { labels: PROBE_LABELS, task: true });
};

describe('sweepSandboxes', { concurrency: true }, () => {
  it('stops and removes sandboxes of earlier probes only', async (t) => {
    const { containerd, client } = await scene(t);
    const { sandboxes } = containerd;
    sandboxes.addProbe('orphan-1');
    sandboxes.addProbe('orphan-2');
    sandboxes.add('other', { 'app.kubernetes.io/managed-by': 'Helm' });
    const metadata = { name: 'gvisor-probe-1', namespace: 'gvisor-ready', uid: '0f-12' };
    sandboxes.add('disguised', { ...PROBE_LABELS, ...POD_LABELS }, { config: { metadata } });
    assert.deepEqual(await sweepSandboxes(optionsOf(client), NEVER), []);
    assert.deepEqual([...sandboxes.byId.keys()], ['other', 'disguised']);
    assert.equal(sandboxes.byId.get('disguised')?.state, 'SANDBOX_READY');
    const order = containerd.requests.flatMap(({ method, request }) =>
      request.podSandboxId === 'orphan-1' ? [method] : [],
    );
    assert.deepEqual(order, ['StopPodSandbox', 'RemovePodSandbox']);
  });

  it('returns those that remain', async (t) => {
    const { containerd, client } = await scene(t, { RemovePodSandbox: refuses('sandbox is not stopped') });
    containerd.sandboxes.addProbe('stubborn');
    assert.deepEqual(await sweepSandboxes(optionsOf(client), NEVER), ['stubborn']);
    containerd.scripts = {};
    assert.deepEqual(await sweepSandboxes(optionsOf(client), NEVER), []);
  });

  it("spares another agent's young probe", async (t) => {
    const { containerd, client } = await scene(t);
    const { sandboxes } = containerd;
    for (const [id, ageS] of [
      ['other-young', 59],
      ['other-old', 60],
      ['me-young', 1],
    ] as const) {
      sandboxes.addProbe(id);
      sandboxes.createdMs.set(id, NOW_MS - ageS * 1_000);
    }
    assert.deepEqual(await sweepSandboxes(optionsOf(client), NEVER), []);
    assert.deepEqual([...sandboxes.byId.keys()], ['other-young']);
  });

  it('leaves the probes of its other handlers to them, however old', async (t) => {
    const { containerd, client } = await scene(t);
    const { sandboxes } = containerd;
    for (const id of ['kvm-old', 'other-old']) {
      sandboxes.addProbe(id);
      sandboxes.createdMs.set(id, NOW_MS - HOUR_MS);
    }
    await sweepSandboxes({ ...optionsOf(client), siblings: ['kvm'] }, NEVER);
    assert.deepEqual([...sandboxes.byId.keys()], ['kvm-old']);
  });

  it('rejects if containerd refuses to list', async (t) => {
    const { client } = await scene(t, { ListPodSandbox: refuses('no') });
    await assert.rejects(sweepSandboxes(optionsOf(client), NEVER), /^CriError: no$/);
  });

  it('sends one request if there are no orphans', async (t) => {
    const { containerd, client } = await scene(t);
    await sweepSandboxes(optionsOf(client), NEVER);
    assert.deepEqual(containerd.calls, ['ListPodSandbox']);
  });
});

describe('sweepContainers', { concurrency: true }, () => {
  it('deletes tasks and containers of probes that the CRI does not list', async (t) => {
    const { containerd, client } = await scene(t);
    const { records } = containerd.sandboxes;
    addContainers(containerd, 'unlisted');
    records.set('without-task', { labels: PROBE_LABELS, task: false });
    records.set('disguised', { labels: { ...PROBE_LABELS, ...POD_LABELS }, task: true });
    records.set('other', { labels: {}, task: true });
    assert.deepEqual((await sweepContainers(optionsOf(client), NEVER)).remaining, []);
    assert.deepEqual([...records.keys()], ['disguised', 'other']);
    assert.equal(records.get('disguised')?.task, true);
  });

  it("spares another agent's young container and reports it", async (t) => {
    const { containerd, client } = await scene(t);
    const { records, createdMs } = containerd.sandboxes;
    for (const [id, owner] of [
      ['of-another', 'other'],
      ['own', 'me'],
    ] as const) {
      records.set(id, { labels: { ...PROBE_LABELS, [OWNER]: owner }, task: true });
      createdMs.set(id, NOW_MS - 59_000);
    }
    assert.deepEqual(await sweepContainers(optionsOf(client), NEVER), { remaining: [], inUse: true });
    assert.deepEqual([...records.keys()], ['of-another']);
  });

  it('leaves the containers of its other handlers to them', async (t) => {
    const { containerd, client } = await scene(t);
    const { records, createdMs } = containerd.sandboxes;
    records.set('sibling', { labels: { ...PROBE_LABELS, [OWNER]: 'kvm' }, task: true });
    createdMs.set('sibling', NOW_MS - HOUR_MS);
    const swept = await sweepContainers({ ...optionsOf(client), siblings: ['kvm'] }, NEVER);
    assert.deepEqual(swept, { remaining: [], inUse: false });
    assert.deepEqual([...records.keys()], ['sibling']);
  });

  it('returns those that remain, and keeps the record of a task that runs', async (t) => {
    const { containerd, client } = await scene(t, UNDELETABLE);
    addContainers(containerd, 'unlisted');
    assert.deepEqual((await sweepContainers(optionsOf(client), NEVER)).remaining, ['unlisted']);
    assert.deepEqual(containerd.sandboxes.orphans, []);
  });
});

describe('Prover, before a probe', { concurrency: true }, () => {
  it('sweeps, and reports the number of orphans when it changes', async (t) => {
    const { prove, containerd, calls } = await proverOf(t, UNDELETABLE);
    containerd.sandboxes.addProbe('predecessor');
    addContainers(containerd, 'stubborn');
    for (const _ of [1, 2]) assert.equal(await prove(), 'proven');
    assert.equal(containerd.sandboxes.byId.has('predecessor'), false);
    assert.deepEqual(calls.orphans, [1]);
    containerd.scripts = {};
    await prove();
    assert.deepEqual(calls.orphans, [1, 0]);
  });

  it('is inconclusive, and starts nothing, if containerd does not list sandboxes', async (t) => {
    const { prove, containerd } = await proverOf(t, { ListPodSandbox: refuses('no') });
    assert.equal(await prove(), 'inconclusive CheckFailed');
    assert.equal(gvisorStarts(containerd), 0);
  });

  it('lists containers at the start and after a failed probe only, since that reads all records', async (t) => {
    const { prove, containerd } = await proverOf(t);
    addContainers(containerd, 'of-a-predecessor');
    for (const _ of [1, 2, 3]) await prove();
    assert.equal(containerd.sandboxes.records.size, 0);
    assert.equal(containerd.count('Containers.List'), 2);
    containerd.scripts = { RunPodSandbox: refuses('no') };
    await prove();
    addContainers(containerd, 'of-the-failed-probe');
    containerd.scripts = {};
    assert.equal(await prove(), 'proven');
    assert.equal(containerd.sandboxes.records.size, 0);
  });

  it('is proven although containers are not listed in time, and lists them the next time', async (t) => {
    const { prove, containerd } = await proverOf(t, { 'Containers.List': TIMES_OUT });
    for (const _ of [1, 2]) assert.equal(await prove(), 'proven');
    containerd.scripts = {};
    for (const _ of [1, 2]) await prove();
    assert.equal(containerd.count('Containers.List'), 3);
  });

  it("lists containers again while another agent's may be in use", async (t) => {
    const { prove, containerd } = await proverOf(t);
    addContainers(containerd, 'of-another');
    containerd.sandboxes.createdMs.set('of-another', Date.now());
    for (const _ of [1, 2]) await prove();
    assert.equal(containerd.count('Containers.List'), 2);
  });

  it("does not delete an abandoned probe's container", async (t) => {
    // Otherwise the next sweep has no reason to list containers.
    const { prove, containerd, hang } = await proverScene(t, { 'Containers.List': TIMES_OUT });
    await hang();
    containerd.scripts = onlyGvisor(containerd, HANGS);
    addContainers(containerd, 'of-the-abandoned-probe');
    containerd.sandboxes.addProbe('orphan');
    const again = containerd.called('RunPodSandbox');
    await prove();
    await again;
    assert.deepEqual([...containerd.sandboxes.records.keys()], ['of-the-abandoned-probe']);
  });

  it('stops sweeping once its probe is abandoned, since it would find the container of the next one', async (t) => {
    const { prover, prove, finish, containerd, clock, holdStarts } = await proverScene(t);
    const listed = gate(containerd, 'ListPodSandbox');
    const listing = containerd.called('ListPodSandbox');
    containerd.scripts = { ListPodSandbox: listed.script };
    await prove();
    await listing;
    clock.nowMs += 1;
    prover.changed();
    const { open, started } = holdStarts();
    await prove();
    await started;
    const isOver = async () => containerd.cancelled.includes('ListPodSandbox');
    await waitFor('the end of the sweep', 10_000, isOver);
    listed.open();
    open();
    await finish();
    assert.deepEqual([containerd.count('Tasks.Delete'), gvisorStarts(containerd)], [0, 1]);
  });
});

describe('Prover, when probes leave orphans', { concurrency: true }, () => {
  /** A refused start that leaves a sandbox. */
  const startLeavingOrphan =
    (containerd: FakeContainerd): Script =>
    (request) => {
      containerd.usual('RunPodSandbox', request);
      throw new Refusal('failed to start sandbox');
    };

  for (const [what, scripts, busy, outcome] of [
    ['that do not stop', UNSTOPPABLE, false, 'stuck SandboxStuck'],
    ['that do not stop under pressure', UNSTOPPABLE, true, 'inconclusive CheckTimedOut'],
    ['of refused starts', { ...UNSTOPPABLE, RunPodSandbox: 'refused' }, false, 'failed SandboxFailed'],
    ['that were proven and cannot be removed', { RemovePodSandbox: refuses('busy') }, false, 'proven'],
  ] as const)
    it(`pauses after three orphans ${what}, until an hour, a change or a repair`, async (t) => {
      const { prover, proveAfter, clock, containerd, setBusy, calls } = await proverOf(t);
      setBusy(busy);
      containerd.scripts = {
        ...scripts,
        ...('RunPodSandbox' in scripts ? { RunPodSandbox: startLeavingOrphan(containerd) } : {}),
      } as Readonly<Record<string, Script>>;
      for (let n = 0; n < 6; n++) assert.equal(await proveAfter(1), outcome);
      assert.deepEqual([gvisorStarts(containerd), calls.orphans.at(-1)], [3, 3]);
      clock.nowMs += HOUR_MS;
      for (const _ of [1, 2]) assert.equal(await proveAfter(1), outcome);
      assert.equal(gvisorStarts(containerd), 4);
      prover.changed();
      assert.equal(await proveAfter(1), outcome);
      assert.equal(gvisorStarts(containerd), 5);
      containerd.scripts = {};
      for (const _ of [1, 2]) assert.equal(await proveAfter(1), 'proven');
      assert.deepEqual([gvisorStarts(containerd), calls.orphans.at(-1)], [7, 0]);
    });

  it('starts no sandbox beside one that can be neither examined nor stopped', async (t) => {
    const { prove, containerd, setBusy } = await proverOf(t, { ...UNSTOPPABLE, 'Tasks.ListPids': TIMES_OUT });
    setBusy(true);
    assert.equal(await prove(), 'inconclusive CheckTimedOut');
    assert.equal(gvisorStarts(containerd), 1);
  });

  it('leaves at most three orphans beside a hanging probe', async (t) => {
    const { prove, containerd, hang } = await proverScene(t);
    await hang();
    containerd.scripts = UNSTOPPABLE;
    /** Repeats until the probe has ended. */
    const outcome = async () => {
      for (;;) {
        const next = await prove();
        if (!/SandboxHangs|SandboxSlow/.test(next)) return next;
        await timers.setTimeout(20);
      }
    };
    for (let n = 0; n < 6; n++) assert.equal(await outcome(), 'stuck SandboxStuck');
    // One of the three is the control.
    assert.equal(containerd.sandboxes.byId.size, 3);
  });

  it("does not count a predecessor's sandboxes", async (t) => {
    const stays: Script = (request) => {
      if (request.podSandboxId.startsWith('old')) throw new Refusal('busy');
      return containerd.usual('RemovePodSandbox', request);
    };
    const { prove, containerd, calls } = await proverOf(t, { RemovePodSandbox: stays });
    for (let n = 0; n < 4; n++) containerd.sandboxes.addProbe(`old-${n}`);
    for (const _ of [1, 2]) assert.equal(await prove(), 'proven');
    assert.deepEqual(calls.orphans, [4]);
  });

  for (const [what, start, first] of [
    ['', {}, 'proven'],
    [' after a first probe that failed', NO_START, 'inconclusive CheckTimedOut'],
  ] as const)
    it(`does not count a predecessor's containers that are listed late${what}`, async (t) => {
      const scripts = { ...UNDELETABLE, 'Containers.List': TIMES_OUT, ...start };
      const { prove, containerd, calls } = await proverOf(t, scripts);
      addContainers(containerd, 'old-1', 'old-2', 'old-3', 'old-4');
      assert.equal(await prove(), first);
      containerd.scripts = UNDELETABLE;
      for (const _ of [1, 2]) assert.equal(await prove(), 'proven');
      assert.equal(gvisorStarts(containerd), 3);
      assert.deepEqual(calls.orphans, [4]);
    });

  it('starts at once after a repair during the third probe that leaves an orphan', async (t) => {
    const { prover, proveAfter, containerd, clock, holdStarts } = await proverOf(t, UNSTOPPABLE);
    for (const _ of [1, 2]) assert.equal(await proveAfter(1), 'stuck SandboxStuck');
    const { open, started } = holdStarts();
    containerd.scripts = { ...UNSTOPPABLE, ...containerd.scripts };
    const third = proveAfter(1);
    await started;
    clock.nowMs += 1;
    prover.changed();
    containerd.scripts = unstoppable(containerd, ['sandbox-1', 'sandbox-2', 'sandbox-3']);
    open();
    assert.equal(await third, 'proven');
  });

  it('still counts orphans after an abandoned probe was proven', async (t) => {
    const { prover, prove, abortProof, containerd, clock, calls } = await proverOf(t);
    const open = await abortProof();
    clock.nowMs += 600_000;
    prover.changed();
    containerd.scripts = UNSTOPPABLE;
    for (const _ of [1, 2, 3, 4]) assert.equal(await prove(), 'stuck SandboxStuck');
    containerd.scripts = unstoppable(containerd, ['sandbox-1', 'sandbox-2', 'sandbox-3']);
    open();
    while (calls.lateEnds === 0) await timers.setImmediate();
    assert.equal(await prove(), 'stuck SandboxStuck');
    assert.equal(gvisorStarts(containerd), 4);
  });
});
