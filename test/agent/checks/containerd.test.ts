import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkContainerd } from '../../../agent/checks/containerd.ts';
import { criStatus, fakeCri, inspect, outcome, sourcesOf } from './fake-node.ts';

const inspectStatus = (status: ReturnType<typeof criStatus> | undefined) =>
  inspect(checkContainerd, sourcesOf('kubeadm-ready', { cri: fakeCri(status) }));

describe('containerd', () => {
  it('passes when containerd responds and is ready', async () => {
    const result = await inspectStatus(criStatus('v2.4.2'));
    assert.deepEqual([outcome(result), result.facts], ['pass', { containerd: 'v2.4.2' }]);
  });

  it('throws when containerd does not respond, naming the socket', async () => {
    await assert.rejects(inspectStatus(undefined), {
      name: 'CriError',
      message: "containerd's Version: connect ECONNREFUSED /run/containerd/containerd.sock",
    });
  });

  it('is unknown for another runtime', async () => {
    const result = await inspectStatus({ ...criStatus('1.37.0'), runtimeName: 'cri-o' });
    assert.equal(outcome(result), 'unknown RuntimeUnsupported');
  });

  it('fails when the runtime is not ready, but not for the network', async () => {
    const condition = { type: 'RuntimeReady', status: false, reason: 'Why', message: 'because' };
    const result = await inspectStatus({ ...criStatus(), conditions: [condition] });
    assert.equal(outcome(result), 'error ContainerdNotReady');
    assert.match(result.message, /because/);
    const network = { ...condition, type: 'NetworkReady' };
    assert.equal(outcome(await inspectStatus({ ...criStatus(), conditions: [network] })), 'pass');
  });

  it('warns of releases that cannot stop gVisor pods', async () => {
    assert.equal(outcome(await inspectStatus(criStatus('v2.0.5'))), 'warning SandboxStuck');
  });
});
