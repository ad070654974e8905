import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { prove } from '../../../agent/proof/proof.ts';
import { PROBE_LABELS } from '../../../agent/proof/sandbox-config.ts';
import { tempHost } from '../host/temp-host.ts';
import { refuses } from './containerd-scripts.ts';
import { GUEST } from './fake-containerd.ts';
import { brief, HOST_FILES, NEVER, scene } from './scene.ts';

describe('prove', { concurrency: true }, () => {
  it('boots one sandbox of the handler, reads its kernel, and removes it', async (t) => {
    const { containerd, run } = await scene(t);
    const outcome = await run();
    assert.equal(brief(outcome), 'proven 4.4.0');
    assert.ok(outcome.kind === 'proven' && outcome.bootMs > 0 && outcome.teardownMs > 0);
    assert.deepEqual(
      containerd.calls.filter((method) => /Sandbox|Container$|Exec/.test(method)),
      [
        'ListPodSandbox',
        'ListPodSandbox',
        'RunPodSandbox',
        'CreateContainer',
        'StartContainer',
        'ExecSync',
        'StopPodSandbox',
        'RemovePodSandbox',
      ],
    );
    assert.equal(containerd.sandboxes.size, 0);
    const request = containerd.requests.find(({ method }) => method === 'RunPodSandbox')?.request;
    assert.equal(request.runtimeHandler, 'runsc');
    assert.deepEqual(request.config.labels, PROBE_LABELS);
    const created = containerd.requests.find(({ method }) => method === 'CreateContainer')?.request;
    assert.equal(created.config.logPath, 'probe.log');
    assert.match(created.sandboxConfig.logDirectory, /^\/run\/containerd\/[^/]+\/sandboxes\/sandbox-1$/);
  });

  it('names a new sandbox each time', async (t) => {
    const { containerd, run } = await scene(t);
    await run();
    await run();
    const names = containerd.requests.flatMap(({ method, request }) =>
      method === 'RunPodSandbox' ? [request.config.metadata.name] : [],
    );
    assert.equal(new Set(names).size, 2);
  });

  it('shares the cgroup of the kubelet’s pods, and asks the next pod when one is gone meanwhile', async (t) => {
    const { containerd, run } = await scene(t);
    containerd.add('other', {}, { linux: { cgroupParent: '/system.slice/podx' } });
    containerd.add('gone', { 'io.kubernetes.pod.uid': '1' });
    containerd.add(
      'pod',
      { 'io.kubernetes.pod.uid': '2' },
      { linux: { cgroupParent: '/kubepods/burstable/pod2' } },
    );
    containerd.scripts = {
      PodSandboxStatus: (request) => {
        if (request.podSandboxId === 'gone') containerd.sandboxes.delete('gone');
        return containerd.usual('PodSandboxStatus', request);
      },
    };
    assert.equal(brief(await run()), 'proven 4.4.0');
    const request = containerd.requests.find(({ method }) => method === 'RunPodSandbox')?.request;
    assert.equal(request.config.linux.cgroupParent, '/kubepods/burstable');
    assert.deepEqual([...containerd.sandboxes.keys()], ['other', 'pod']);
  });

  it('uses the image of the agent’s own container when none is named', async (t) => {
    const scripts = { ListContainers: () => ({ containers: [{ id: 'c', imageRef: 'sha256:own' }] }) };
    const { containerd, run } = await scene(t, scripts, { image: undefined });
    assert.equal(brief(await run()), 'proven 4.4.0');
    const request = containerd.requests.find(({ method }) => method === 'CreateContainer')?.request;
    assert.deepEqual([request.config.image.image, request.config.command], ['sha256:own', ['sleep', '60']]);
  });

  it('is impossible when no image has programs and the host lends none', async (t) => {
    const { containerd, run } = await scene(t, {}, { image: undefined });
    assert.equal(brief(await run()), 'impossible ProbeImageMissing');
    assert.ok(!containerd.calls.includes('RunPodSandbox'));
  });

  const errors: readonly [string, string][] = [
    [
      'unable to get OCI runtime for sandbox "1": no runtime for "runsc" is configured',
      'failed HandlerNotLoaded',
    ],
    [
      'failed to start sandbox "1": failed to create containerd task: failed to start shim: failed to resolve runtime path: runtime "io.containerd.runsc.v1" binary not installed "containerd-shim-runsc-v1": file does not exist: unknown',
      'failed ShimNotFound',
    ],
    [
      'failed to create containerd task: decode config file "/etc/x": open /etc/x',
      'failed RunscConfigInvalid',
    ],
    ['OCI runtime create failed: exec: "runsc": executable file not found in $PATH', 'failed RunscNotFound'],
    ['cannot read client sync file: waiting for sandbox to start: EOF', 'failed SandboxFailed'],
    ['failed to get sandbox image "pause:3.10": failed to pull image', 'impossible ProbeImageMissing'],
  ];
  for (const [words, expected] of errors) {
    it(`${expected} when RunPodSandbox says: ${words.slice(0, 60)}`, async (t) => {
      const { run } = await scene(t, { RunPodSandbox: refuses(words) });
      const outcome = await run();
      assert.deepEqual([brief(outcome), outcome.message], [expected, words]);
    });
  }

  it('sees through a handler that gives the host’s kernel', async (t) => {
    const stdout = Buffer.from(Object.values(HOST_FILES).join(''));
    const { run } = await scene(t, { ExecSync: () => ({ stdout }) });
    assert.equal(brief(await run()), 'failed GuestIsHostKernel');
  });

  it('sees through a handler that gives another kernel', async (t) => {
    const stdout = Buffer.from('Linux version 6.12.22 (kata@build) #1 SMP\nb3e0\n');
    const { run } = await scene(t, { ExecSync: () => ({ stdout }) });
    assert.equal(brief(await run()), 'failed GuestNotGVisor');
  });

  it('proves nothing from a probe that prints nothing, nonsense, or 17 MB', async (t) => {
    const printed: readonly [object, string][] = [
      [{ stderr: Buffer.from('cat: cannot open') }, 'failed SandboxFailed'],
      [{ stdout: Buffer.from([0, 255, 10, 13]) }, 'impossible CheckFailed'],
      [{ stdout: Buffer.alloc(15 * 1024 * 1024, 'x') }, 'impossible CheckFailed'],
      [{ stdout: Buffer.alloc(17 * 1024 * 1024, 'x') }, 'failed SandboxFailed'],
    ];
    for (const [answer, expected] of printed) {
      const { containerd, run } = await scene(t, { ExecSync: () => answer });
      assert.equal(brief(await run()), expected);
      assert.equal(containerd.sandboxes.size, 0);
    }
  });

  it('reads only the beginning of a long output', async (t) => {
    const stdout = Buffer.from(GUEST.padEnd(8 * 1024 * 1024, 'x'));
    const { run } = await scene(t, { ExecSync: () => ({ stdout }) });
    assert.equal(brief(await run()), 'proven 4.4.0');
  });

  it('is impossible without the host’s own kernel to compare with', async (t) => {
    const { options } = await scene(t);
    const blind = { ...options, host: await tempHost(t) };
    assert.equal(brief(await prove(blind, NEVER)), 'impossible CheckFailed');
  });
});
