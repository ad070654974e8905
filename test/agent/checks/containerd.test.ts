import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { containerd } from '../../../agent/checks/containerd.ts';
import { criStatus, fakeCri, inspect, outcome, sourcesOf } from './fake-node.ts';

const look = (status: ReturnType<typeof criStatus> | undefined) =>
  inspect(containerd, sourcesOf('kubeadm-ready', { cri: fakeCri(status) }));

describe('containerd', () => {
  it('passes when containerd answers and is ready', async () => {
    const seen = await look(criStatus('v2.4.2'));
    assert.deepEqual([outcome(seen), seen.facts], ['pass', { containerd: 'v2.4.2' }]);
  });

  it('cannot look when it does not answer, and names the socket', async () => {
    await assert.rejects(look(undefined), {
      name: 'CriError',
      message: "containerd's Version: connect ECONNREFUSED /run/containerd/containerd.sock",
    });
  });

  it('is unknown for another runtime', async () => {
    const seen = await look({ ...criStatus('1.37.0'), runtimeName: 'cri-o' });
    assert.equal(outcome(seen), 'unknown RuntimeUnsupported');
  });

  it('fails when containerd says that it is not ready, and not for the network', async () => {
    const condition = { type: 'RuntimeReady', status: false, reason: 'Why', message: 'because' };
    const seen = await look({ ...criStatus(), conditions: [condition] });
    assert.equal(outcome(seen), 'error ContainerdNotReady');
    assert.match(seen.message, /because/);
    const network = { ...condition, type: 'NetworkReady' };
    assert.equal(outcome(await look({ ...criStatus(), conditions: [network] })), 'pass');
  });

  it('warns of releases that cannot stop gVisor pods', async () => {
    assert.equal(outcome(await look(criStatus('v2.0.5'))), 'warning SandboxStuck');
  });
});
