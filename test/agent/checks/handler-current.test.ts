import assert from 'node:assert/strict';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { changedSettings, checkHandlerCurrent } from '../../../agent/checks/handler-current.ts';
import { GVISOR_NODE_FILES } from '../../lib/runsc/fake-runsc.ts';
import {
  criStatus,
  criWith,
  fakeCri,
  inspect,
  loadedRuntime,
  outcome,
  outcomeOf,
  sourcesOf,
  sourcesWith,
} from './fake-node.ts';
import type { HostName } from './fixture-hosts.ts';

const options = { TypeUrl: 'io.containerd.runsc.v1.options', ConfigPath: '/etc/containerd/runsc.toml' };
const inspectLoaded = (fixture: HostName, loaded = loadedRuntime({ options }), release = 'v2.4.2') =>
  inspect(checkHandlerCurrent, sourcesOf(fixture, { cri: fakeCri(criStatus(release, { runsc: loaded })) }));

describe('handler-current', () => {
  it('warns of each setting that a restart would change', async () => {
    const old = loadedRuntime({ options: { ...options, ConfigPath: '/old' } });
    const result = await inspectLoaded('kubeadm-ready', old);
    assert.equal(outcome(result), 'warning RestartPending');
    assert.match(result.message, /ConfigPath is "\/old" and becomes "\/etc\/containerd\/runsc.toml"/);
  });

  it('warns when a restart would lose the handler, or everything', async () => {
    assert.equal(outcome(await inspectLoaded('kubeadm-no-config')), 'warning RestartPending');
    const truncated = await inspectLoaded('debian-truncated', loadedRuntime(), '1.7.24');
    assert.equal(outcome(truncated), 'warning ContainerdConfigInvalid');
  });

  it('warns of a base spec that was changed since containerd has read it', async (t) => {
    const sources = await sourcesWith(
      t,
      { '/s.json': '{}', '/run/containerd/containerd.sock': '', ...GVISOR_NODE_FILES },
      { cri: criWith({ baseRuntimeSpec: '/s.json' }) },
    );
    const spec = join(sources.host.root, 's.json');
    const message = async () => (await inspect(checkHandlerCurrent, sources)).message;
    assert.doesNotMatch(await message(), /was changed/);
    const { ctimeMs } = await stat(spec);
    while ((await stat(spec)).ctimeMs === ctimeMs) await writeFile(spec, '{"mounts":[]}');
    assert.match(await message(), /base_runtime_spec "\/s.json" was changed since containerd read it/);
  });

  it('is skipped without a loaded handler', async () =>
    assert.equal(await outcomeOf(checkHandlerCurrent, sourcesOf('kubeadm-ready')), 'skipped'));
});

describe('changedSettings', () => {
  it('treats an absent option like a zero value', () => {
    const loaded = loadedRuntime({
      options: { Root: '', IoUid: 0, NoPivotRoot: false, SystemdCgroup: true },
    });
    assert.deepEqual(changedSettings(loaded, { ...loaded, options: { SystemdCgroup: true } }), []);
    assert.deepEqual(changedSettings(loaded, { ...loaded, options: {}, runtimePath: '/x' }), [
      'runtime_path is "" and becomes "/x"',
      'SystemdCgroup is true and becomes ""',
    ]);
    assert.deepEqual(changedSettings(loaded, { ...loaded, baseRuntimeSpec: '/s', cniConfDir: '/c' }), [
      'base_runtime_spec is "" and becomes "/s"',
      'cni_conf_dir is "" and becomes "/c"',
    ]);
    assert.deepEqual(changedSettings({ ...loaded, podAnnotations: ['dev.gvisor.*'] }, loaded), [
      'pod_annotations is ["dev.gvisor.*"] and becomes []',
    ]);
  });
});
