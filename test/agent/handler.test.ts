import assert from 'node:assert/strict';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { additionalNodes, type NodeParts, openHandler } from '../../agent/handler.ts';
import { waitFor } from '../../hack/run.ts';
import { TimeoutError } from '../../lib/base/async.ts';
import { Host } from '../../lib/host/host.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { addProcess } from '../lib/host/fake-process.ts';
import { PATIENT_MS } from '../lib/host/temp-host.ts';
import { refuses } from '../lib/proof/containerd-scripts.ts';
import { gate, NEVER } from '../lib/proof/scene.ts';
import { GVISOR_NODE_FILES } from '../lib/runsc/fake-runsc.ts';
import { nodeScene } from './node-scene.ts';

/** Opens the handler of a node, whose watches end with the test. */
function open(t: TestContext, node: NodeParts) {
  const nothing = () => {};
  const handler = openHandler(node, {
    facts: {},
    count: nothing,
    show: nothing,
    write: nothing,
    onChange: nothing,
  });
  t.after(() => handler.files.close());
  return handler;
}

/** A view of a host whose file operations do not return in time. */
class StalledHost extends Host {
  override glance(): Host {
    return this;
  }

  override async realpath(): Promise<never> {
    throw new TimeoutError('the file system does not answer');
  }
}

describe('openHandler', { concurrency: 4 }, () => {
  it('removes its own orphan, and spares a probe of another handler', async (t) => {
    const { node, containerd } = await nodeScene(t);
    const probes = node.probes.marks.map((mark) => `${mark}-1`);
    for (const probe of probes) containerd.sandboxes.addProbe(probe); // old ones
    await open(t, node).prover.prove(NEVER);
    assert.deepEqual([...containerd.sandboxes.byId.keys()], probes.slice(1));
  });

  it('proves while the files of the checks stall', async (t) => {
    const { node } = await nodeScene(t);
    const { prover } = open(t, { ...node, host: new StalledHost(node.host.root) });
    assert.equal((await prover.prove(NEVER)).kind, 'proven');
  });

  it('lets the probes of several handlers take turns', async (t) => {
    const { node, containerd } = await nodeScene(t);
    const handlers = [node, ...additionalNodes(node)].map((each) => open(t, each));
    const outcomes = await Promise.all(handlers.map(({ prover }) => prover.prove(NEVER)));
    assert.deepEqual(
      outcomes.map(({ kind }) => kind),
      ['proven', 'proven'],
    );
    assert.equal(containerd.sandboxes.maxProbes, 1);
  });

  it('evaluates again once a boot ends that nothing waits for', async (t) => {
    const { node, containerd } = await nodeScene(t);
    const boot = gate(containerd, 'RunPodSandbox');
    containerd.scripts = { RunPodSandbox: boot.script };
    const { prover, queue } = open(t, node);
    const stop = new AbortController();
    const started = containerd.called('RunPodSandbox');
    const abandoned = assert.rejects(prover.prove(stop.signal));
    await started;
    stop.abort();
    await abandoned;
    boot.open();
    await prover.finish(PATIENT_MS);
    assert.deepEqual(await queue.wait(0, NEVER), [{ kind: 'probe' }]);
  });

  it('shows each step of an installation, and evaluates only after the last', async (t) => {
    const { node } = await nodeScene(t);
    const { root } = node.host;
    const path = installJournal('runsc');
    const write = async (journal: object) => {
      await writeFile(join(root, `${path}.new`), JSON.stringify({ format: 1, ...journal }));
      await rename(join(root, `${path}.new`), join(root, path));
    };
    await mkdir(dirname(join(root, path)), { recursive: true });
    addProcess(root, 77, { argv: ['gvisor-ready-install'], startTicks: 9 });
    const { agent, announcer, queue } = open(t, node);
    const push = t.mock.method(queue, 'push');
    const isPushed = () =>
      push.mock.calls.some(({ arguments: [it] }) => it.kind === 'file' && it.path === path);
    await agent.reconcile([{ kind: 'start' }], NEVER);

    const generation = '/usr/local/lib/gvisor/release-20260223.0-0123456789ab';
    const begun = { generation, step: 'restart', since: '2026-03-01T12:00:00Z' };
    await write({ pending: { ...begun, process: { pid: 77, startTicks: 9 } } });
    const isShown = async () => announcer.report?.installation?.pending?.step === 'restart';
    await waitFor('the installation in the report', 30_000, isShown);
    assert.ok(!isPushed());

    await write({ installed: { generation } });
    await waitFor('an evaluation', 30_000, async () => isPushed());
  });
});

describe('additionalNodes', { concurrency: 4 }, () => {
  it('evaluate while the files of the main handler stall', async (t) => {
    const { node } = await nodeScene(t, { files: GVISOR_NODE_FILES });
    const [additional] = additionalNodes({ ...node, host: new StalledHost(node.host.root) });
    assert.ok(additional);
    const { agent, announcer } = open(t, additional);
    await agent.reconcile([{ kind: 'start' }], NEVER);
    const found = announcer.report?.findings.find(({ check }) => check === 'runsc');
    assert.equal(found?.status, 'pass');
  });

  it('expect gVisor only if containerd knows their handler, whatever the main one expects', async (t) => {
    const { node, containerd } = await nodeScene(t, {
      files: GVISOR_NODE_FILES,
      env: { EXPECT_GVISOR: 'on' },
    });
    containerd.scripts = { RunPodSandbox: refuses('no runtime for it is configured') };
    for (const each of [node, ...additionalNodes(node)]) {
      const { agent, announcer } = open(t, each);
      await agent.reconcile([{ kind: 'start' }], NEVER);
      announcer.say({ provenOnce: false });
      assert.equal(announcer.report?.expected, each === node, each.config.handler);
    }
  });
});
