import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { differences, handlerCurrent } from '../../../agent/checks/handler-current.ts';
import { criStatus, fakeCri, inspect, loadedRuntime, outcome, sourcesOf } from './fake-node.ts';

const options = { TypeUrl: 'io.containerd.runsc.v1.options', ConfigPath: '/etc/containerd/runsc.toml' };
const look = (fixture: string, loaded = loadedRuntime({ options }), release = 'v2.4.2') =>
  inspect(handlerCurrent, sourcesOf(fixture, { cri: fakeCri(criStatus(release, { runsc: loaded })) }));

describe('handler-current', () => {
  it('passes when memory and disk are the same', async () => {
    assert.equal(outcome(await look('kubeadm-ready')), 'pass');
  });

  it('warns of each setting that a restart would change', async () => {
    const seen = await look('kubeadm-ready', loadedRuntime({ options: { ...options, ConfigPath: '/old' } }));
    assert.equal(outcome(seen), 'warning RestartPending');
    assert.match(seen.message, /ConfigPath is "\/old" and becomes "\/etc\/containerd\/runsc.toml"/);
  });

  it('warns when a restart would lose the handler, or everything', async () => {
    assert.equal(outcome(await look('kubeadm-no-config')), 'warning RestartPending');
    assert.equal(
      outcome(await look('debian-truncated', loadedRuntime(), '1.7.24')),
      'warning ContainerdConfigInvalid',
    );
  });

  it('has nothing to compare without the handler or without containerd', async () => {
    assert.equal(outcome(await inspect(handlerCurrent, sourcesOf('kubeadm-ready'))), 'skipped');
    const silent = sourcesOf('kubeadm-ready', { cri: fakeCri(undefined) });
    await assert.rejects(inspect(handlerCurrent, silent), { name: 'CriError', kind: 'unreachable' });
  });
});

describe('differences', () => {
  it('takes an absent option and a zero one for the same', () => {
    const loaded = loadedRuntime({
      options: { Root: '', IoUid: 0, NoPivotRoot: false, SystemdCgroup: true },
    });
    assert.deepEqual(differences(loaded, { ...loaded, options: { SystemdCgroup: true } }), []);
    assert.deepEqual(differences(loaded, { ...loaded, options: {}, runtimePath: '/x' }), [
      'runtime_path is "" and becomes "/x"',
      'SystemdCgroup is true and becomes ""',
    ]);
    assert.deepEqual(differences({ ...loaded, podAnnotations: ['dev.gvisor.*'] }, loaded), [
      'pod_annotations is ["dev.gvisor.*"] and becomes []',
    ]);
  });
});
