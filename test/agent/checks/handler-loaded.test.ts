import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { handlerLoaded } from '../../../agent/checks/handler-loaded.ts';
import { tempHost } from '../host/temp-host.ts';
import { criStatus, fakeCri, loadedRuntime, outcome, sourcesOf } from './fake-node.ts';

const { signal } = new AbortController();

describe('handler-loaded', () => {
  it('passes when containerd has the handler, whatever is on disk', async () => {
    const cri = fakeCri(criStatus('v2.4.2', { runsc: loadedRuntime() }));
    assert.equal(
      outcome(await handlerLoaded.inspect(sourcesOf('kubeadm-no-config', { cri }), signal)),
      'pass',
    );
  });

  it('says that a restart is missing when the handler is on disk only', async () => {
    const seen = await handlerLoaded.inspect(sourcesOf('kubeadm-ready'), signal);
    assert.equal(outcome(seen), 'explains RestartPending');
    assert.equal(seen.evidence?.[0]?.file, '/etc/containerd/conf.d/runsc.toml');
  });

  it('says that it is not loaded when it is nowhere, or when the disk cannot be read', async (t) => {
    assert.equal(
      outcome(await handlerLoaded.inspect(sourcesOf('kubeadm-no-config'), signal)),
      'explains HandlerNotLoaded',
    );
    const host = await tempHost(t, { '/etc/containerd/config.toml': '#'.repeat(2 ** 21) });
    const seen = await handlerLoaded.inspect(sourcesOf('', { host }), signal);
    assert.equal(outcome(seen), 'explains HandlerNotLoaded');
    assert.match(seen.evidence?.at(-1)?.value ?? '', /larger than/);
  });

  it('cannot look when containerd does not answer', async () => {
    const silent = sourcesOf('kubeadm-ready', { cri: fakeCri(undefined) });
    await assert.rejects(handlerLoaded.inspect(silent, signal), { name: 'CriError', kind: 'unreachable' });
  });
});
