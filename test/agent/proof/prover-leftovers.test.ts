import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import timers from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { PROBE_LABELS } from '../../../agent/proof/sandbox.ts';
import { HANGS, Refusal, refuses, type Script } from './containerd-scripts.ts';
import { brief, gate, gvisorBoots, NEVER, proverScene } from './scene.ts';

const PATIENT = { patienceMs: 600_000 };
const HOUR_MS = 3_600_000;
const LATE = refuses('Deadline exceeded', status.DEADLINE_EXCEEDED);
/** A containerd that ends no sandbox, and is late where that ends the waiting. */
const STAYS = { StopPodSandbox: LATE, RemovePodSandbox: refuses('busy'), 'Tasks.Delete': refuses('busy') };

/** A start that is refused, and leaves its sandbox where the CRI lists it. */
const refusedStart =
  (usual: (method: string, request: unknown) => object): Script =>
  (request) => {
    usual('RunPodSandbox', request);
    throw new Refusal('failed to start sandbox');
  };

describe('Prover, on what its probes leave', { concurrency: true }, () => {
  it('leaves three sandboxes that do not stop, also where pressure may be the cause', async (t) => {
    const { prover, clock, containerd, press } = await proverScene(t, STAYS, PATIENT);
    press(true);
    for (let look = 0; look < 6; look++) {
      clock.nowMs += 1;
      assert.equal(brief(await prover.prove(NEVER)), 'impossible CheckTimedOut');
    }
    assert.equal(gvisorBoots(containerd), 3);
    clock.nowMs += HOUR_MS;
    await prover.prove(NEVER);
    assert.equal(gvisorBoots(containerd), 4);
    containerd.scripts = {};
    assert.equal(brief(await prover.prove(NEVER)), 'proven');
  });

  it('begins no other beside one that does not stop, where it could not be looked at either', async (t) => {
    const { prover, containerd, press } = await proverScene(t, { ...STAYS, 'Tasks.ListPids': LATE }, PATIENT);
    press(true);
    assert.equal(brief(await prover.prove(NEVER)), 'impossible CheckTimedOut');
    assert.equal(gvisorBoots(containerd), 1);
  });

  it('leaves three whose start was refused, and that do not go', async (t) => {
    const { prover, containerd } = await proverScene(t, STAYS, PATIENT);
    const usual = containerd.usual.bind(containerd);
    containerd.scripts = { ...STAYS, RunPodSandbox: refusedStart(usual) };
    for (let look = 0; look < 6; look++)
      assert.equal(brief(await prover.prove(NEVER)), 'failed SandboxFailed');
    assert.equal(gvisorBoots(containerd), 3);
  });

  it('leaves three that proved and cannot be removed, and proves once an hour then', async (t) => {
    const { prover, clock, containerd, told } = await proverScene(
      t,
      { RemovePodSandbox: refuses('busy') },
      PATIENT,
    );
    for (let look = 0; look < 6; look++) assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.deepEqual([gvisorBoots(containerd), told.left.at(-1)], [3, 3]);
    clock.nowMs += HOUR_MS;
    for (const _ of [1, 2]) await prover.prove(NEVER);
    assert.equal(gvisorBoots(containerd), 4);
    prover.changed();
    await prover.prove(NEVER);
    assert.equal(gvisorBoots(containerd), 5);
    containerd.scripts = {};
    for (const _ of [1, 2]) assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.deepEqual([gvisorBoots(containerd), told.left.at(-1)], [7, 0]);
  });

  it('takes a long sweep for no sandbox that hangs', async (t) => {
    const { prover, clock, containerd } = await proverScene(t, { ListPodSandbox: HANGS }, { hangMs: 1_000 });
    assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
    clock.nowMs += 2_000;
    assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
    assert.equal(gvisorBoots(containerd), 0);
  });

  it('proves beside what a predecessor left for good', async (t) => {
    const stays: Script = (request) => {
      if (request.podSandboxId.startsWith('old')) throw new Refusal('busy');
      return containerd.usual('RemovePodSandbox', request);
    };
    const { prover, containerd, told } = await proverScene(t, { RemovePodSandbox: stays }, PATIENT);
    for (let n = 0; n < 4; n++) containerd.sandboxes.addProbe(`old-${n}`);
    for (const _ of [1, 2]) assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.deepEqual(told.left, [4]);
  });

  it('proves anew beside what a predecessor left for good and was found late', async (t) => {
    const scripts = { 'Containers.List': LATE, 'Tasks.Delete': refuses('busy') };
    const { prover, containerd, told } = await proverScene(t, scripts, PATIENT);
    for (let n = 0; n < 4; n++)
      containerd.sandboxes.records.set(`old-${n}`, { labels: PROBE_LABELS, task: true });
    assert.equal(brief(await prover.prove(NEVER)), 'proven');
    containerd.scripts = { 'Tasks.Delete': scripts['Tasks.Delete'] };
    for (const _ of [1, 2]) assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.equal(gvisorBoots(containerd), 3);
    assert.deepEqual(told.left, [4]);
  });

  it('proves beside what was found late, though the first boot proved nothing', async (t) => {
    const scripts = {
      'Containers.List': LATE,
      'Tasks.Delete': refuses('busy'),
      RunPodSandbox: refuses('context deadline exceeded'),
    };
    const { prover, containerd } = await proverScene(t, scripts, PATIENT);
    for (let n = 0; n < 4; n++)
      containerd.sandboxes.records.set(`old-${n}`, { labels: PROBE_LABELS, task: true });
    assert.equal(brief(await prover.prove(NEVER)), 'impossible CheckTimedOut');
    containerd.scripts = { 'Tasks.Delete': scripts['Tasks.Delete'] };
    assert.equal(brief(await prover.prove(NEVER)), 'proven');
  });

  it('boots at once after a repair in the middle of the third boot that stays', async (t) => {
    const { prover, containerd, clock } = await proverScene(t, STAYS, PATIENT);
    const look = async () => {
      clock.nowMs += 1;
      return brief(await prover.prove(NEVER));
    };
    for (const _ of [1, 2]) assert.equal(await look(), 'stuck SandboxStuck');
    const { script, open } = gate(containerd, 'RunPodSandbox');
    const started = containerd.called('RunPodSandbox');
    containerd.scripts = { ...STAYS, RunPodSandbox: script };
    const third = look();
    await started;
    clock.nowMs += 1;
    prover.changed();
    const old = ['sandbox-1', 'sandbox-2', 'sandbox-3'];
    const staysIfOld =
      (method: string): Script =>
      (request) => {
        if (old.includes(request.podSandboxId ?? request.containerId)) throw new Refusal('busy');
        return containerd.usual(method, request);
      };
    const methods = ['StopPodSandbox', 'RemovePodSandbox', 'Tasks.Delete'];
    containerd.scripts = Object.fromEntries(methods.map((method) => [method, staysIfOld(method)]));
    open();
    assert.equal(await third, 'proven');
  });

  it('sweeps no more once a boot was left: the container that it would find is of the next', async (t) => {
    const { prover, containerd, clock } = await proverScene(t, {}, { patienceMs: 300 });
    const listed = gate(containerd, 'ListPodSandbox');
    const listing = containerd.called('ListPodSandbox');
    containerd.scripts = { ListPodSandbox: listed.script };
    const look = prover.prove(NEVER);
    await listing;
    clock.nowMs += 1;
    prover.changed();
    const { script, open } = gate(containerd, 'RunPodSandbox');
    const started = containerd.called('RunPodSandbox');
    containerd.scripts = { RunPodSandbox: script };
    await started;
    listed.open();
    await timers.setTimeout(200);
    open();
    await look;
    await prover.finish(60_000);
    assert.deepEqual([containerd.count('Tasks.Delete'), gvisorBoots(containerd)], [0, 1]);
  });

  it('looks for what the CRI forgot at its start and after a boot that failed, since that reads all records', async (t) => {
    const { prover, containerd } = await proverScene(t, {}, PATIENT);
    const { records } = containerd.sandboxes;
    records.set('of-a-predecessor', { labels: PROBE_LABELS, task: true });
    for (const _ of [1, 2, 3]) await prover.prove(NEVER);
    assert.deepEqual([...records], []);
    assert.equal(containerd.count('Containers.List'), 2);
    containerd.scripts = { RunPodSandbox: refuses('no') };
    await prover.prove(NEVER);
    records.set('of-the-failed-boot', { labels: PROBE_LABELS, task: true });
    containerd.scripts = {};
    assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.deepEqual([...records], []);
  });

  it('proves where containerd does not list its records in time, and asks again', async (t) => {
    const { prover, containerd } = await proverScene(t, { 'Containers.List': LATE }, PATIENT);
    for (const _ of [1, 2]) assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.equal(containerd.count('Containers.List'), 2);
    containerd.scripts = {};
    for (const _ of [1, 2]) await prover.prove(NEVER);
    assert.equal(containerd.count('Containers.List'), 3);
  });

  it('takes no outcome of a boot that ended long ago', async (t) => {
    const { prover, containerd, clock } = await proverScene(t, { RunPodSandbox: HANGS });
    containerd.scripts = {};
    assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
    await prover.finish(60_000);
    clock.nowMs += HOUR_MS;
    assert.equal(brief(await prover.prove(NEVER)), 'slow SandboxSlow');
    await prover.finish(60_000);
    assert.equal(brief(await prover.prove(NEVER)), 'proven');
    assert.equal(gvisorBoots(containerd), 2);
  });
});
