import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { type Evaluation, evaluate } from '../../agent/evaluate.ts';
import type { Outcome } from '../../agent/proof/outcome.ts';
import { criStatus, fakeCri, loadedRuntime, sourcesOf } from './checks/fake-node.ts';
import { NEVER } from './healthy-node.ts';
import { mountedHost } from './host/temp-host.ts';
import { PROVEN, unproven } from './reports.ts';

const OPTIONS = { TypeUrl: 'io.containerd.runsc.v1.options', ConfigPath: '/opt/gvisor/runsc.toml' };
/** What configures the handler. */
const CONFIG = `version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]
runtime_type = 'io.containerd.runsc.v1'
`;

/** A look in a pod that mounts the host's /etc, /usr and /proc, at a node that has gVisor in /opt. */
async function lookAt(t: TestContext, proof: Outcome, options = {}): Promise<Evaluation> {
  const host = await mountedHost(t, ['etc', 'usr', 'proc'], { '/etc/containerd/config.toml': CONFIG });
  const runsc = loadedRuntime({ options });
  const sources = sourcesOf('', { host, cri: fakeCri(criStatus('v2.4.2', { runsc })) });
  return evaluate(
    { sources, prove: async () => proof, compare: async (failed) => failed, now: () => performance.now() },
    NEVER,
  );
}

describe('look, where gVisor lies outside of what the agent mounts', () => {
  it('is ready by its proof, and says what it cannot see and what to mount', async (t) => {
    const { verdict, findings } = await lookAt(t, PROVEN, OPTIONS);
    assert.deepEqual([verdict.status, verdict.reason], ['True', 'SandboxProven']);
    const config = findings.find(({ check }) => check === 'runsc-config');
    assert.ok(config?.status === 'unknown' && config.reason === 'NotVisible', JSON.stringify(config));
    assert.match(config.message, /"\/opt\/gvisor\/runsc\.toml".* mount the host's "\/opt" read-only at /);
  });

  it('blames no absence for a sandbox that does not boot', async (t) => {
    const { verdict, findings } = await lookAt(t, unproven('failed', 'SandboxFailed'));
    assert.deepEqual([verdict.status, verdict.reason], ['False', 'SandboxFailed']);
    for (const check of ['shim', 'runsc']) {
      const finding = findings.find((each) => each.check === check);
      assert.equal(finding?.status, 'unknown', check);
      const hidden = finding?.evidence?.map(({ value }) => value).join('\n') ?? '';
      assert.match(hidden, /not visible, since the agent does not mount them: \/sbin .*\/opt\/bin /, check);
      assert.match(hidden, /looked in \/usr\/local\/sbin /, check);
    }
  });
});
