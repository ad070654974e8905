import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkHandlerLoaded } from '../../../agent/checks/handler-loaded.ts';
import { tempHost } from '../../lib/host/temp-host.ts';
import { criWith, inspect, outcome, outcomeOf, sourcesOf } from './fake-node.ts';

describe('handler-loaded', () => {
  it('passes when containerd has the handler, whatever is on disk', async () => {
    const cri = criWith({});
    assert.equal(await outcomeOf(checkHandlerLoaded, sourcesOf('kubeadm-no-config', { cri })), 'pass');
  });

  it('advises a restart when the handler is on disk only', async () => {
    const result = await inspect(checkHandlerLoaded, sourcesOf('kubeadm-ready'));
    assert.equal(outcome(result), 'error RestartPending');
    assert.equal(result.evidence?.[0]?.file, '/etc/containerd/conf.d/runsc.toml');
  });

  it('fails when the handler is not on disk either, or the disk cannot be read', async (t) => {
    assert.equal(
      await outcomeOf(checkHandlerLoaded, sourcesOf('kubeadm-no-config')),
      'error HandlerNotLoaded',
    );
    const host = await tempHost(t, { '/etc/containerd/config.toml': '#'.repeat(2 ** 21) });
    const result = await inspect(checkHandlerLoaded, sourcesOf('', { host }));
    assert.equal(outcome(result), 'error HandlerNotLoaded');
    assert.match(result.evidence?.at(-1)?.value ?? '', /larger than/);
  });
});
