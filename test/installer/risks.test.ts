import assert from 'node:assert/strict';
import { readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { Node } from '../../installer/base/node.ts';
import { remove } from '../../installer/commands/remove.ts';
import { refuseRisks } from '../../installer/preflight/risks.ts';
import { installJournal } from '../../lib/host/installation.ts';
import { sandboxArgv } from '../lib/host/fake-process.ts';
import { refuses } from '../lib/proof/containerd-scripts.ts';
import { CONFIG, LOADED, ORIGINAL, PROGRAM, refusal, type Scene, scene } from './scene.ts';

const KEEP = { force: false, retryNow: true };
const SECTION = 'plugins."io.containerd.cri.v1.runtime"';
const CRI = `${SECTION}.containerd`;

const sentry = (id: string) => ({ argv: sandboxArgv(id) });

/** What is wrong on a node, and the refusal of an installation. */
const CASES: Readonly<Record<string, [(on: Scene) => unknown, RegExp]>> = {
  'the handler of all pods': [
    (on) => {
      Object.assign(on.node, { handler: 'runc' });
      for (const path of [CONFIG, LOADED]) on.write(path, 'version = 3\n'); // has a runc of its own
    },
    /^check: "runc" is the handler of pods without a RuntimeClass/,
  ],
  'a handler that is not loaded yet': [
    (on) => on.write(CONFIG, `${ORIGINAL}[${CRI}.runtimes.kvm]\nruntime_type = "io.containerd.runsc.v1"\n`),
    /^check: "\/etc\/containerd\/config.toml".* not loaded: containerd\.runtimes\.kvm\.runtime_type\b/,
  ],
  'a handler that is loaded and in no file': [
    (on) => on.write(LOADED, `${ORIGINAL}[${CRI}.runtimes.kata]\nruntime_type = "io.containerd.kata.v2"\n`),
    /^check: .* not loaded: containerd\.runtimes\.kata\./,
  ],
  'a setting that is not loaded yet, however old its file is': [
    (on) => {
      on.write(LOADED, `${ORIGINAL}[${SECTION}]\nmax_container_log_line_size = 16384\n`);
      on.write(CONFIG, `${ORIGINAL}[${SECTION}]\nmax_container_log_line_size = 4096\n`);
      utimesSync(`${on.root}${CONFIG}`, 1_000, 1_000);
    },
    /^check: .* not loaded: max_container_log_line_size: a restart would load more/,
  ],
  'a program that was replaced': [
    ({ root }) => rmSync(`${root}${root}${PROGRAM}`),
    /^check: The program of containerd, ".*\/usr\/bin\/containerd", was replaced or deleted since/,
  ],
  'a runc that does not start': [
    (on) => on.script({ RunPodSandbox: refuses('no space left on device') }),
    /^quiet: A sandbox of the default handler does not start .*no space left.*\(NoSandboxStarts\)/,
  ],
  'a default handler that is gVisor': [
    ({ containerd }) => Object.assign(containerd.sandboxes, { runtimePids: () => [1], process: sentry }),
    /^quiet: A pod without a RuntimeClass would run in gVisor/,
  ],
};

describe('a restart of containerd', () => {
  for (const [what, [spoil, because]] of Object.entries(CASES))
    it(`is refused before a write because of ${what}`, async (t) => {
      const on = await scene(t);
      spoil(on);
      const before = on.state();
      assert.match(await refusal(on.install()), because);
      assert.deepEqual({ ...on.state(), files: before.files }, before);
    });

  for (const [mode, isRefused] of [
    ['control-group', true],
    ['mixed', true],
    ['', true],
    ['process', false],
    ['none', false],
  ] as const)
    it(`is ${isRefused ? 'refused' : 'made'} by a unit whose KillMode is "${mode}"`, async (t) => {
      const on = await scene(t);
      Object.assign(on.node, { restartCommand: undefined });
      on.write('/run/unit', `KillMode=${mode}\n`);
      on.write('/proc/100/cgroup', '0::/system.slice/containerd.service\n');
      const said = await refusal(on.install('release-1', { dryRun: true }));
      const because = `check: A restart of "containerd.service" would end every pod of the node: its KillMode is "${mode}"`;
      assert.equal(said.startsWith(because), isRefused, said);
    });

  it('is refused for an edit, or a program, that comes between the check and the restart', async (t) => {
    const acts: readonly ((on: Scene) => void)[] = [
      (on) => on.write(CONFIG, on.read(CONFIG).replace('name = "runc"', 'name = "other"')),
      ({ root }) => rmSync(`${root}${root}${PROGRAM}`),
    ];
    for (const act of acts) {
      const on = await scene(t);
      on.write(LOADED, `${ORIGINAL}[${CRI}]\ndefault_runtime_name = "runc"\n`);
      on.write(CONFIG, on.read(LOADED));
      const report: Node['report'] = ({ step }) => void (step === 'write' && act(on));
      const said = await refusal(on.install('release-1', {}, { report }));
      assert.match(said, /^check: .* would load more than the handler of gVisor/);
      assert.doesNotMatch(on.read(CONFIG), /BEGIN/);
      assert.equal(on.restarts(), 0);
    }
  });

  it('names the units that systemd restarts with containerd', async (t) => {
    const on = await scene(t);
    Object.assign(on.node, { restartCommand: undefined });
    on.write(
      '/run/unit',
      'KillMode=process\nRequiredBy=docker.service\nConsistsOf=kubelet.service docker.service\n',
    );
    on.write('/proc/100/cgroup', '0::/system.slice/containerd.service\n');
    await refuseRisks(on.node);
    const text = 'a restart of "containerd.service" also restarts docker.service, kubelet.service';
    assert.deepEqual(on.said, [`check skipped ${text}`]);
  });

  it('is refused for a removal of the default handler, which would leave pods without one', async (t) => {
    const on = await scene(t);
    await on.install();
    const text = `${on.read(CONFIG)}[${CRI}]\ndefault_runtime_name = "runsc"\n`;
    for (const path of [CONFIG, LOADED]) on.write(path, text);
    const before = on.state();
    assert.match(await refusal(remove(on.node, KEEP)), /^check: "runsc" is the handler of pods without/);
    const said = await refusal(remove({ ...on.node, noRestart: true }, KEEP));
    assert.match(said, /^validate: .*default_runtime_name is "runsc".*\(ContainerdConfigInvalid\)/);
    assert.deepEqual(on.state(), before);
  });

  it('is made for a failing release three times, after pauses that double, and then only for a person', async (t) => {
    const on = await scene(t);
    on.script({
      RunPodSandbox: (request) =>
        request.runtimeHandler === 'runsc'
          ? refuses('it ends')(request)
          : on.containerd.usual('RunPodSandbox', request),
    });
    const journal = `${on.root}/usr/local/lib/gvisor/install-runsc.json`;
    const ago = (minutes: number) => {
      const at = new Date(Date.now() - minutes * 60_000).toISOString();
      writeFileSync(journal, readFileSync(journal, 'utf8').replace(/"at": "[^"]*"/, `"at": "${at}"`));
    };
    const isTried = async () => (await refusal(on.install())).startsWith('prove: ');
    const tries: boolean[] = [await isTried()];
    for (const minutes of [29, 31, 59, 61, 10_000, -10_000]) {
      ago(minutes);
      tries.push(await isTried());
    }
    assert.deepEqual(tries, [true, false, true, false, true, false, false]);
    assert.equal(on.restarts(), 6);
    assert.match(
      await refusal(on.install()),
      /failed 3 times and restarted containerd 6 times.* only with --retry-now/,
    );
    await refusal(on.install('release-1', { retryNow: true }));
    assert.equal(on.restarts(), 8);
  });

  it('is also counted if its run was killed', async (t) => {
    const on = await scene(t);
    const journal = installJournal('runsc');
    let atProof: string | undefined;
    on.script({
      RunPodSandbox: (request) => {
        if (request.runtimeHandler !== 'runsc') return on.containerd.usual('RunPodSandbox', request);
        atProof ??= on.read(journal);
        return refuses('it ends')(request);
      },
    });
    await refusal(on.install());
    on.write(journal, atProof ?? ''); // as a run leaves it that is killed after its first restart
    await refusal(on.install());
    assert.equal((await on.journal())?.failure?.restarts, 3);
  });
});
