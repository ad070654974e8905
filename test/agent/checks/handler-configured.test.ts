import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkHandlerConfigured } from '../../../agent/checks/handler-configured.ts';
import { criStatus, fakeCri, inspect, outcome, outcomeOf, sourcesOf, sourcesWith } from './fake-node.ts';

describe('handler-configured', () => {
  it('reports file and line of the handler', async () => {
    const result = await inspect(checkHandlerConfigured, sourcesOf('kubeadm-ready'));
    assert.equal(outcome(result), 'pass');
    assert.deepEqual(result.evidence, [
      { file: '/etc/containerd/conf.d/runsc.toml', line: 3, value: 'io.containerd.runsc.v1' },
    ]);
  });

  it('names the assumed rules when containerd does not respond', async () => {
    const result = await inspect(
      checkHandlerConfigured,
      sourcesOf('debian-ready', { cri: fakeCri(undefined) }),
    );
    assert.equal(outcome(result), 'pass');
    assert.match(result.message, /by the rules of containerd 1.x, because its release is not known/);
  });

  for (const host of ['gke-plain', 'kubeadm-no-config'] as const)
    it(`is unknown on ${host}, without a handler, while containerd does not respond`, async () => {
      const sources = sourcesOf(host, { cri: fakeCri(undefined), edit: 'x' });
      const result = await inspect(checkHandlerConfigured, sources);
      assert.equal(outcome(result), 'unknown HandlerNotConfigured');
      assert.match(result.message, /release is not known/);
      assert.equal(result.where, 'x');
    });

  const root = '/etc/containerd/config.toml';
  const V3 = 'io.containerd.cri.v1.runtime';
  const table = (id: string, line = 'runtime_type = "io.containerd.runsc.v1"') =>
    `[plugins."${id}".containerd.runtimes.runsc]\n${line}\n`;

  it('warns of a second table without effect', async (t) => {
    const files = { [root]: `version = 3\n${table(V3)}${table('io.containerd.grpc.v1.cri')}` };
    const cri = fakeCri(criStatus('v2.2.2'));
    const result = await inspect(checkHandlerConfigured, await sourcesWith(t, files, { cri }));
    assert.equal(outcome(result), 'warning HandlerInIgnoredTable');
    assert.match(result.message, /line 4 has no effect/);
  });

  it('names the existing handlers and where to add one', async () => {
    const sources = sourcesOf('gke-plain', { cri: fakeCri(criStatus('v2.0.7')), edit: 'GKE Sandbox' });
    const result = await inspect(checkHandlerConfigured, sources);
    assert.equal(outcome(result), 'error HandlerNotConfigured');
    assert.match(result.message, /there are "runc", "gvisor"/);
    assert.equal(result.where, 'GKE Sandbox');
  });

  it('fails for a handler without a type, and throws for an unreadable file', async (t) => {
    const untyped = await sourcesWith(t, { [root]: `version = 3\n${table(V3, 'runtime_typ = "x"')}` });
    assert.equal(await outcomeOf(checkHandlerConfigured, untyped), 'error HandlerNotConfigured');
    const big = await sourcesWith(t, { [root]: '#'.repeat(2 ** 21) });
    await assert.rejects(inspect(checkHandlerConfigured, big), /larger than/);
  });
});
