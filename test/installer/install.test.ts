import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import { installJournal } from '../../agent/host/installation.ts';
import { remove, rollback } from '../../installer/install.ts';
import type { Node } from '../../installer/node.ts';
import { GENERATIONS } from '../../installer/release.ts';
import { HANGS, refuses } from '../agent/proof/containerd-scripts.ts';
import { CONFIG, ORIGINAL, refusal, scene } from './scene.ts';

type Scene = Awaited<ReturnType<typeof scene>>;
const JOURNAL = installJournal('runsc');
const POD = 'a'.repeat(64);
const SHIM = '/opt/program';
const BUNDLES = '/run/containerd/io.containerd.runtime.v2.task/k8s.io';
/** A dump to which the installer's text adds a line. */
const adds = (text: string) => `cat .${CONFIG}; grep -q BEGIN .${CONFIG} && printf '${text}' || :`;
const script = ({ containerd }: Scene, scripts: Scene['containerd']['scripts']) => {
  containerd.scripts = { ...containerd.scripts, ...scripts };
};
/** Has containerd refuse sandboxes of a handler while it has loaded a release. */
const failsWith = (on: Scene, release: string, handler: string) =>
  script(on, {
    RunPodSandbox: (request) =>
      request.runtimeHandler === handler && on.read('/run/loaded.toml').includes(release)
        ? refuses('exec: "/x/containerd-shim-runsc-v1": executable file not found')(request)
        : on.containerd.usual('RunPodSandbox', request),
  });
/** Has a container of a pod start as soon as containerd's file has this text. */
const isStarting = async (on: Scene, text: string) => {
  await on.addPod(POD, 'runsc', SHIM);
  const containers = [{ id: 'b', podSandboxId: POD, state: 'CONTAINER_CREATED' }];
  script(on, { ListContainers: () => ({ containers: on.read(CONFIG).includes(text) ? containers : [] }) });
};
const generations = ({ state }: Scene) => state().files.map((name) => name.replace(/-[0-9a-f]{12}$/, ''));

describe('install', () => {
  it('proves a candidate beside the handler, then the handler and runc, and leaves nothing else', async (t) => {
    const on = await scene(t);
    await on.install();
    const { said, candidates, containerd, state, journal } = on;
    const steps = said.map((line) => line.split(' ').slice(0, 2).join(' '));
    const done = ['check', 'stage', 'pre-prove', 'quiet', 'write', 'validate', 'restart', 'prove', 'commit'];
    assert.deepEqual(
      steps,
      done.map((step) => `${step} pass`),
    );
    const sandboxes = containerd.requests.filter(({ method }) => method === 'RunPodSandbox');
    assert.deepEqual(
      sandboxes.map(({ request }) => request.runtimeHandler),
      ['runsc', ''],
    );
    assert.deepEqual([candidates.ids.size, containerd.sandboxes.byId.size, state().restarts], [0, 0, 1]);
    assert.deepEqual(await fs.readdir(`${on.root}/run`), ['dump', 'loaded.toml', 'nsenter', 'restarts']);
    const { installed, ...rest } = (await journal()) ?? {};
    assert.ok(state().loaded.endsWith(installed?.written.text ?? 'no text'));
    assert.deepEqual(rest, { format: 1, handler: 'runsc' });
  });

  const AGAIN: Readonly<Record<string, [(on: Scene) => void, number]>> = {
    'nothing if all is as it was': [() => {}, 0],
    'restarts a containerd that has loaded another file of settings': [
      ({ read, write }) =>
        write('/run/loaded.toml', read('/run/loaded.toml').replace('runsc.toml', 'x.toml')),
      1,
    ],
  };
  for (const [what, [change, restarts]] of Object.entries(AGAIN))
    it(`again: ${what}`, async (t) => {
      const on = await scene(t);
      await on.install();
      const [before, journal] = [on.state(), await on.journal()];
      change(on);
      await on.install();
      assert.deepEqual(on.state(), { ...before, restarts: before.restarts + restarts });
      assert.deepEqual([await on.journal(), on.containerd.count('Tasks.Create')], [journal, 1 + restarts]);
    });

  /** What fails before the restart, and the refusal. */
  const UNTOUCHED: Readonly<Record<string, [(on: Scene) => unknown, RegExp]>> = {
    'a candidate that is no sentry': [
      ({ candidates }) => Object.assign(candidates, { argv: () => ['/usr/bin/runc'] }),
      /^pre-prove: .*process 9000 is "\/usr\/bin\/runc", not a gVisor sandbox/,
    ],
    'a candidate that prints nothing': [
      ({ candidates }) => Object.assign(candidates, { output: '' }),
      /^pre-prove: .*"runsc --version" in the sandbox ended with 0 and printed ""/,
    ],
    'a candidate without its shim': [
      (on) => script(on, { 'Tasks.Create': refuses('failed to resolve runtime path') }),
      /^pre-prove: .*nothing was changed: Tasks\.Create: .*\(ShimNotFound\)$/,
    ],
    "a file that changes containerd's other settings": [
      ({ write }) => write('/run/dump', adds('[debug]\\nlevel = "info"')),
      /^validate: .* would change more than the handler: debug\.level /,
    ],
    'a file that changes another handler': [
      ({ write }) =>
        write(
          '/run/dump',
          adds('[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]\\nx = 1'),
        ),
      /^validate: .*runtimes\.runc\.options\.x /,
    ],
    'a file that containerd refuses': [
      ({ write }) => write('/run/dump', `cat .${CONFIG}; ! grep -q BEGIN .${CONFIG}`),
      /^validate: containerd refuses the new configuration: .*ended with 1.*\(ContainerdConfigInvalid\)$/,
    ],
    'a container that is being started': [
      (on) => isStarting(on, 'version'),
      /^quiet: A restart of containerd is not safe now: container b of sandbox a+ is being started/,
    ],
  };
  for (const [what, [fail, because]] of Object.entries(UNTOUCHED))
    it(`stops at ${what}: nothing restarts, and all is as before`, async (t) => {
      const on = await scene(t);
      const before = on.state();
      await fail(on);
      const said = await refusal(on.install());
      assert.match(said, because);
      assert.deepEqual(on.state(), { ...before, files: ['install-runsc.json'] });
      assert.equal(on.candidates.ids.size, 0);
      const isUndone = on.said.includes('undo pass the node works as before');
      assert.equal(isUndone, said.startsWith('validate'));
      const { failure, installed, pending } = (await on.journal()) ?? {};
      assert.deepEqual([failure?.step, installed, pending], [said.split(':')[0], undefined, undefined]);
      // A busy node says nothing about the release.
      const again = failure?.step === 'quiet' ? because : /^journal: release-1 failed at .*with --retry-now/;
      assert.match(await refusal(on.install()), again);
    });

  /** What fails in an upgrade after the write, how often containerd restarts on the way back and forth, and the refusal. */
  const RESTORED: Readonly<Record<string, [(on: Scene) => unknown, number, RegExp]>> = {
    'a restart that fails': [
      () => ({ restartCommand: 'exit 4' }),
      0,
      /^restart: containerd did not restart: .*ended with 4/,
    ],
    'a container that is being started meanwhile': [
      (on) => isStarting(on, 'release-2'),
      0,
      /^quiet: .*container b of sandbox a+ is being started/,
    ],
    'a containerd that loads another text': [
      () => ({ restartCommand: 'echo >>run/restarts' }),
      1,
      /^restart: .*did not load the handler "runsc" as it is written \(HandlerNotLoaded\)/,
    ],
    'a sandbox that does not start': [
      (on) => failsWith(on, 'release-2', 'runsc'),
      2,
      /^prove: A sandbox of handler "runsc" is not proven: .*\(ShimNotFound\)/,
    ],
    'a default handler that starts nothing': [
      (on) => failsWith(on, 'release-2', ''),
      2,
      /^prove: A sandbox of the default handler does not start: .*\(NoSandboxStarts\)/,
    ],
  };
  for (const [what, [fail, restarts, because]] of Object.entries(RESTORED))
    it(`undoes an upgrade after ${what}, and tries it again later`, async (t) => {
      const on = await scene(t);
      await on.install();
      const [before, journal] = [on.state(), await on.journal()];
      const said = await refusal(on.install('release-2', {}, (await fail(on)) ?? {}));
      assert.match(said, because);
      assert.deepEqual(on.state(), { ...before, restarts: before.restarts + restarts });
      const { failure, ...rest } = (await on.journal()) ?? {};
      assert.deepEqual([failure?.step, rest], [said.split(':')[0], journal]);
      assert.match(on.said.at(-1) ?? '', /^undo pass the node works as before/);
    });

  it('tries a release that failed again once its time has come, and another at once', async (t) => {
    const on = await scene(t);
    await refusal(on.install('release-1', {}, { restartCommand: 'exit 4' }));
    await on.install('release-2');
    await refusal(on.install('release-1', { retryNow: true }, { restartCommand: 'exit 4' }));
    assert.match(await refusal(on.install()), /^journal: release-1 failed/);
    on.write(JOURNAL, on.read(JOURNAL).replace(/"retryAt": "\d+/, '"retryAt": "2001'));
    await on.install();
    assert.equal((await on.journal())?.failure, undefined);
  });

  it('leaves what cannot be undone to the next run', async (t) => {
    const on = await scene(t);
    failsWith(on, '', '');
    assert.match(await refusal(on.install()), /could not be restored either .*: the next run tries again/);
    assert.equal((await on.journal())?.pending?.step, 'prove');
    script(on, { RunPodSandbox: (request) => on.containerd.usual('RunPodSandbox', request) });
    await on.install('release-2');
    assert.deepEqual(generations(on), ['install-runsc.json', 'release-2']);
  });

  it('writes nothing in a dry run, and restarts nothing for a machine image', async (t) => {
    const on = await scene(t);
    const before = on.state();
    await on.install('release-1', { dryRun: true });
    assert.match(on.said.at(-1) ?? '', /would write to .*BEGIN gvisor-ready runsc:/s);
    assert.deepEqual(on.state(), before);
    await on.install('release-1', {}, { noRestart: true });
    const { config, loaded, restarts } = on.state();
    assert.deepEqual([config === before.config, loaded, restarts], [false, before.loaded, 0]);
    assert.equal(on.containerd.count('RunPodSandbox'), 0);
  });

  it('says which pods ended while containerd was away', async (t) => {
    const on = await scene(t);
    for (const id of [POD, 'b'.repeat(64)]) await on.addPod(id, '', SHIM);
    const usual = (request: object) => on.containerd.usual('ListPodSandbox', request) as { items: object[] };
    script(on, { ListPodSandbox: (request) => ({ items: usual(request).items.slice(on.restarts()) }) });
    await on.install();
    await on.install('release-2');
    const restarts = on.said.filter((line) => line.startsWith('restart'));
    assert.match(restarts[0] ?? '', /ended meanwhile: eval\/pod$/);
  });

  /** What is wrong with a node on which release-1 is installed, and the refusal. */
  const REFUSED: Readonly<Record<string, [(on: Scene) => unknown, RegExp]>> = {
    'a text that was edited': [
      ({ read, write }) => write(CONFIG, read(CONFIG).replace('runsc.v1"', 'runsc.v2"')),
      /^write: .*is not the one that was written there:\n- .*"io.containerd.runsc.v1"\n\+ .*v2"/,
    ],
    'a text that is gone': [({ write }) => write(CONFIG, ORIGINAL), /^write: .*something rewrote the file/],
    'a journal that is gone': [
      ({ root }) => fs.rm(`${root}${JOURNAL}`),
      /^check: ".*config.toml" has a text of this program, and the journal is gone/,
    ],
    'half a journal': [
      ({ read, write }) => write(JOURNAL, read(JOURNAL).slice(0, 99)),
      /^journal: .*cannot be understood/,
    ],
    'a configuration that does not load': [
      ({ read, write }) => write(CONFIG, `${read(CONFIG)}[`),
      /^check: containerd would not start with ".*config.toml", line \d+: .*\(ContainerdConfigInvalid\)$/,
    ],
    'a containerd that is stopped': [
      ({ containerd }) => containerd.stop(),
      /^check: containerd does not respond at .*\(ContainerdUnreachable\)$/,
    ],
    'a containerd that nothing restarts': [
      ({ node }) => Object.assign(node, { restartCommand: undefined }),
      /^check: No systemd unit runs containerd here/,
    ],
    'a containerd of a snap': [
      async ({ root }) => {
        await fs.rm(`${root}/proc/101/exe`);
        await fs.symlink('/snap/microk8s/1/bin/containerd', `${root}/proc/101/exe`);
      },
      /^check: containerd comes from a snap/,
    ],
    'a journal that cannot be written': [
      ({ root }) => fs.mkdir(`${root}${JOURNAL}.gvisor-ready-new`),
      /^stage: EISDIR/,
    ],
    'a kernel that is too old': [
      ({ write }) => write('/proc/sys/kernel/osrelease', '4.4.0'),
      /^check: Linux 4\.4\.0 is older .*\(KernelUnsupported\)$/,
    ],
  };
  for (const [what, [spoil, because]] of Object.entries(REFUSED))
    it(`refuses ${what}, and touches nothing`, async (t) => {
      const on = await scene(t);
      await on.install();
      await spoil(on);
      const before = on.state();
      assert.match(await refusal(on.install('release-2')), because);
      const { loaded, config, restarts } = on.state();
      assert.deepEqual({ loaded, config, restarts, files: before.files }, before);
    });

  it('refuses a disk with less than 1 GiB', async (t) => {
    const on = await scene(t);
    const { mock } = t.mock.method(fs, 'statfs', async () => ({ bavail: 1_023, bsize: 2 ** 20 }));
    syncBuiltinESMExports();
    t.after(syncBuiltinESMExports);
    assert.match(await refusal(on.install()), /^check: Only 1023 MiB are free in "\/"/);
    mock.restore();
    syncBuiltinESMExports();
    assert.deepEqual(on.state().files, []);
    await on.install();
  });

  it('asks a containerd that is too busy to answer again', async (t) => {
    const on = await scene(t);
    let calls = 0;
    const busy = refuses('Deadline exceeded after 3 s', status.DEADLINE_EXCEEDED);
    script(on, {
      Version: (request) => (calls++ < 3 ? busy : () => on.containerd.usual('Version', request))(request),
    });
    await on.install();
    script(on, { Version: busy });
    assert.match(
      await refusal(on.install()),
      /^check: containerd does not respond .*\(ContainerdUnreachable\)$/,
    );
  });

  it("takes over another owner's handler only if told, and gives it back", async (t) => {
    const on = await scene(t);
    const foreign = `${ORIGINAL.replaceAll('runc', 'runsc')}# the next table\n[debug]\n`;
    on.write(CONFIG, foreign);
    assert.match(
      await refusal(on.install()),
      /line 2 configures the handler "runsc" already, and it is left alone/,
    );
    assert.equal(on.read(CONFIG), foreign);
    await on.install('release-1', { takeOver: true });
    await on.install('release-2');
    await remove(on.node, false);
    assert.equal(on.read(CONFIG), foreign);
  });
});

describe('rollback', () => {
  it('goes to the generation before the last commit, and back', async (t) => {
    const on = await scene(t);
    await on.install();
    assert.match(await refusal(rollback(on.node)), /^journal: There is no earlier generation/);
    const { config } = on.state();
    await on.install('release-2');
    const journal = await on.journal();
    await rollback(on.node);
    assert.equal(on.read(CONFIG), config);
    const { installed: previous, previous: installed } = journal ?? {};
    assert.deepEqual(await on.journal(), { format: 1, handler: 'runsc', installed, previous });
    await rollback(on.node);
    assert.deepEqual([await on.journal(), on.restarts()], [journal, 4]);
  });
});

describe('remove', () => {
  it('brings back what was there before, and says once that it is done', async (t) => {
    const on = await scene(t);
    const before = on.state();
    await on.install();
    await on.install('release-2');
    await remove(on.node, false);
    assert.deepEqual(on.state(), { ...before, restarts: 3 });
    assert.equal(on.said.at(-1), 'commit pass handler "runsc" is gone');
    await remove(on.node, false);
    assert.match(on.said.at(-1) ?? '', /^commit skipped handler "runsc" is not installed/);
  });

  it('refuses while pods of its handler run, and by force keeps their programs', async (t) => {
    const on = await scene(t);
    const canary = { ...on.node, handler: 'runsc-canary' };
    await on.install();
    await on.install('release-2', {}, canary);
    const [generation = ''] = (await on.journal())?.installed?.generation.match(/[^/]+$/) ?? [];
    await on.addPod(POD, 'runsc', `${GENERATIONS}/${generation}/containerd-shim-runsc-v1`);
    const before = on.state();
    assert.match(
      await refusal(remove(on.node, false)),
      /^quiet: Pods of handler "runsc" still run \(eval\/pod\)/,
    );
    assert.deepEqual(on.state(), before);
    await remove(on.node, true);
    assert.match(on.said.at(-2) ?? '', /^stage skipped .*release-1-\w+ stays, because sandboxes need it/);
    await remove(canary, false);
    assert.deepEqual([on.read(CONFIG), on.state().files], [ORIGINAL, [generation]]);
  });

  it('finishes a removal that was interrupted', async (t) => {
    const on = await scene(t);
    await on.install();
    const failing = remove({ ...on.node, restartCommand: 'exit 4' }, false);
    assert.match(await refusal(failing), /^restart: containerd did not restart/);
    assert.equal((await on.journal())?.pending?.removes, true);
    await remove(on.node, false);
    assert.deepEqual([on.read('/run/loaded.toml'), on.state().files], [ORIGINAL, []]);
  });

  const ends = ({ containerd, root }: Scene) => {
    containerd.sandboxes.end(POD);
    return () => rmSync(`${root}${BUNDLES}`, { recursive: true });
  };
  const isMute = (on: Scene) => {
    ends(on)();
    let isBusy = false;
    const { Status = HANGS } = on.containerd.scripts;
    script(on, {
      // The last call before the programs go.
      RemovePodSandbox: () => {
        isBusy = true;
        return {};
      },
      Status: (request) => (isBusy ? refuses('busy') : Status)(request),
    });
    return () => script(on, { Status });
  };
  const record = /sandboxes that have ended still run \/usr\/\S+release-1-\w+ \(a record of containerd\)/;
  /** What keeps programs, how to end it, the upgrades since they came, and the text that names it. */
  const KEPT: Readonly<Record<string, [(on: Scene) => () => unknown, number, RegExp]>> = {
    'a sandbox that is ending': [ends, 0, record],
    'a sandbox of an earlier release that is ending': [ends, 2, record],
    'a containerd that does not say what it needs': [
      isMute,
      0,
      /containerd does not say which programs it needs/,
    ],
  };
  for (const [what, [keep, upgrades, because]] of Object.entries(KEPT)) {
    const kept = async (t: TestContext) => {
      const on = await scene(t);
      await on.install();
      await on.addPod(
        POD,
        'runsc',
        `${(await on.journal())?.installed?.generation}/containerd-shim-runsc-v1`,
      );
      for (let upgrade = 0; upgrade < upgrades; upgrade++)
        await on.install('release-2', { flags: new Map([['debug', String(upgrade)]]) });
      return { ...on, end: keep(on) };
    };

    it(`waits for ${what}`, async (t) => {
      const { end, ...on } = await kept(t);
      const report: Node['report'] = (progress) => {
        on.node.report(progress);
        if (progress.text.startsWith('waiting up to 120 s')) end();
      };
      await remove({ ...on.node, report }, false);
      assert.match(on.said.at(-2) ?? '', because);
      assert.deepEqual([on.said.at(-1), on.state().files], ['commit pass handler "runsc" is gone', []]);
    });

    it(`does not say that it is done beside ${what}`, async (t) => {
      const { end, ...on } = await kept(t);
      const said = await refusal(remove(on.node, false));
      assert.match(
        said,
        /^stage: Handler "runsc" is gone, and its programs are not: .*Run remove again later/,
      );
      assert.match(said, because);
      assert.doesNotMatch(on.said.at(-1) ?? '', /is gone/);
      end();
      await remove(on.node, false);
      assert.deepEqual([on.said.at(-1), on.state().files], ['commit pass handler "runsc" is gone', []]);
    });
  }
});

describe('what was interrupted for another handler', () => {
  const OTHER = { handler: 'runsc-canary' };

  /** Runs it until containerd is called with a method, and leaves the files as they are then. */
  async function kill(on: Scene, method: string, work: () => Promise<void>): Promise<void> {
    const { scripts } = on.containerd;
    let files: readonly (readonly [string, string])[] = [];
    const paths = [CONFIG, '/run/loaded.toml', installJournal(OTHER.handler)];
    const seen = refuses('it was killed');
    script(on, {
      [method]: (request) => {
        if (files.length === 0) files = paths.map((path) => [path, on.read(path)]);
        return seen(request);
      },
    });
    await refusal(work());
    on.containerd.scripts = scripts;
    for (const [path, text] of files) on.write(path, text);
  }

  for (const isCommitted of [false, true])
    it(`goes back to ${isCommitted ? 'its last commit' : 'nothing'} in the next run`, async (t) => {
      const on = await scene(t);
      await on.install();
      if (isCommitted) await on.install('release-1', {}, OTHER);
      const { config } = on.state();
      const journal = await on.journal(OTHER.handler);
      await kill(on, 'RunPodSandbox', () => on.install('release-2', {}, OTHER));
      assert.match(on.read('/run/loaded.toml'), /runsc-canary"\.options\][^[]*release-2/);
      await on.install();
      assert.match(on.said.join('\n'), /undo pass took back .* in step prove, of handler "runsc-canary"/);
      const { loaded } = on.state();
      assert.deepEqual([on.read(CONFIG), loaded, await on.journal(OTHER.handler)], [config, config, journal]);
    });

  it('is removed in the next run, if it was to be removed and no pod of it runs', async (t) => {
    const on = await scene(t);
    await on.install();
    const { config } = on.state();
    await on.install('release-1', {}, OTHER);
    await refusal(remove({ ...on.node, ...OTHER, restartCommand: 'exit 4' }, false));
    await on.addPod(POD, OTHER.handler, SHIM);
    assert.match(await refusal(on.install()), /^quiet: Pods of handler "runsc-canary" still run/);
    on.containerd.sandboxes.remove(POD);
    rmSync(`${on.root}${BUNDLES}`, { recursive: true });
    await on.install();
    assert.match(on.said.join('\n'), /undo pass finished the removal .* of handler "runsc-canary"/);
    const { loaded } = on.state();
    assert.deepEqual([on.read(CONFIG), loaded, await on.journal(OTHER.handler)], [config, config, undefined]);
  });
});
