import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isolation } from '../../../agent/checks/isolation.ts';
import { tempHost } from '../host/temp-host.ts';
import { criStatus, fakeCri, loadedRuntime, outcome, sourcesOf } from './fake-node.ts';

const { signal } = new AbortController();
const cri = fakeCri(criStatus('v2.4.2', { runsc: loadedRuntime({ options: { ConfigPath: '/r.toml' } }) }));

describe('isolation', () => {
  it('names every weak flag with its file and line, and decides by the worst', async () => {
    const seen = await isolation.look(sourcesOf('kubeadm-weakened'), signal);
    assert.equal(outcome(seen), 'decides IsolationWeakened');
    assert.deepEqual(
      seen.evidence?.map(({ file, line, value }) => [file, line, value.split(':')[0]]),
      [
        ['/etc/containerd/runsc.toml', 3, 'network = "host"'],
        ['/etc/containerd/runsc.toml', 2, 'net-raw = "true"'],
      ],
    );
  });

  it('only warns of lesser flags', async (t) => {
    const host = await tempHost(t, { '/r.toml': '[runsc_config]\nplatform = "ptrace"\n' });
    assert.equal(
      outcome(await isolation.look(sourcesOf('', { host, cri }), signal)),
      'advises IsolationWeakened',
    );
  });

  it('does not pass a file whose flags it cannot tell', async (t) => {
    const host = await tempHost(t, { '/r.toml': '[runsc_config]\nnetwork = "ho' });
    await assert.rejects(
      isolation.look(sourcesOf('', { host, cri }), signal),
      /Cannot tell the flags of runsc/,
    );
    const none = sourcesOf('kubeadm-no-config');
    assert.equal(outcome(await isolation.look(none, signal)), 'unknown NothingToJudge');
  });
});
