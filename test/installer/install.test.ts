import assert from 'node:assert/strict';
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { Node } from '../../installer/base/node.ts';
import { remove } from '../../installer/commands/remove.ts';
import { rollback } from '../../installer/commands/rollback.ts';
import { preflight } from '../../installer/preflight/preflight.ts';
import { type Installation, installJournal, readInstallation } from '../../lib/host/installation.ts';
import { addProcess, sandboxArgv } from '../lib/host/fake-process.ts';
import { refuses, type Script } from '../lib/proof/containerd-scripts.ts';
import { CONFIG, DUMP, LOADED, ORIGINAL, refusal, type Scene, scene } from './scene.ts';

/** What is done to a node, and the refusal. */
type Cases = Readonly<Record<string, [(on: Scene) => unknown, RegExp]>>;

const JOURNAL = installJournal('runsc');
const KEEP = { force: false, retryNow: true };
const POD = 'a'.repeat(64);
const SHIM = '/opt/program';
const POD_CGROUP = '0::/../../kubepods/pod01234567-89ab-cdef-0123-456789abcdef/x\n';
const BUNDLES = '/run/containerd/io.containerd.runtime.v2.task';
const FAILING = { restartCommand: 'exit 4' };
const NOT_LOADING = { restartCommand: 'echo >>run/restarts' };
const RUNC = ORIGINAL.split('\n')[1]?.replace(']', '.options]');
const GONE = 'commit pass handler "runsc" is gone';

const hangs = (on: Scene) =>
  on.script({ 'Tasks.Create': refuses('no answer within 60 s', status.DEADLINE_EXCEEDED) });
const boots = (program: string) => (on: Scene) => Object.assign(on.candidate, { argv: () => [program] });
const prints = (output: string) => (on: Scene) => Object.assign(on.candidate, { output });
const restartsBy = (restartCommand: string | undefined) => (on: Scene) =>
  Object.assign(on.node, { restartCommand });
/** Has containerd print its file only if a command succeeds on it. */
const dumps = (command: string) => (on: Scene) => on.write(DUMP, `cat .$3; ${command} .$3`);
/** Has containerd see further lines beside the installer's text. */
const adds = (lines: string) => dumps(`[ -z "$(grep BEGIN .$3)" ] || printf '${lines}'; true`);
/** Has containerd refuse sandboxes of a handler while it has loaded a text. */
const fails = (handler: string, text: string) => (on: Scene) =>
  on.script({
    RunPodSandbox: (request) =>
      request.runtimeHandler === handler && on.read(LOADED).includes(text)
        ? refuses('failed to resolve runtime path')(request)
        : on.containerd.usual('RunPodSandbox', request),
  });
/** Has a container of a pod start once containerd's file has a text. */
const starts = (text: string) => (on: Scene) => {
  on.addPod(POD, 'runsc', SHIM);
  const containers = [{ id: 'b', podSandboxId: POD, state: 'CONTAINER_CREATED' }];
  on.script({ ListContainers: () => ({ containers: on.read(CONFIG).includes(text) ? containers : [] }) });
};
const edits = (path: string, from: string | RegExp, to: string) => (on: Scene) =>
  on.write(path, on.read(path).replace(from, to));

describe('install', () => {
  it('proves a candidate beside the handler, then the handler and runc, and leaves nothing else', async (t) => {
    const on = await scene(t);
    let seen: Installation | undefined;
    on.script({
      RunPodSandbox: async (request) => {
        if (request.runtimeHandler !== '') seen = await readInstallation(on.node.host, 'runsc', Date.now());
        return on.containerd.usual('RunPodSandbox', request);
      },
    });
    await on.install();
    const { step, interrupted } = seen?.pending ?? {};
    assert.deepEqual([step, interrupted], ['prove', false]); // for the agent, which reads the journal
    const { said, candidate, containerd, restarts } = on;
    assert.equal(
      said.map((line) => line.replace(/ pass .*/, '')).join(),
      'check,stage,pre-prove,validate,quiet,write,restart,prove,commit',
    );
    const sandboxes = containerd.requests.filter(({ method }) => method === 'RunPodSandbox');
    assert.equal(sandboxes.map(({ request }) => request.runtimeHandler).join(), ',runsc,');
    assert.deepEqual([candidate.ids.size, containerd.sandboxes.byId.size, restarts()], [0, 0, 1]);
    assert.deepEqual(await fs.readdir(`${on.root}/run`), ['dump', 'loaded.toml', 'nsenter', 'restarts']);
    const { installed, ...rest } = (await on.journal()) ?? {};
    assert.equal(on.read(LOADED), `${ORIGINAL}${installed?.written.text}`);
    assert.deepEqual(rest, { format: 1, handler: 'runsc' });
  });

  it('does nothing the second time, unless containerd has loaded other settings', async (t) => {
    const on = await scene(t);
    await on.install();
    const [before, journal] = [on.state(), await on.journal()];
    await on.install();
    assert.deepEqual([on.state(), await on.journal()], [before, journal]);
    edits(LOADED, 'runsc.toml', 'x.toml')(on);
    await on.install();
    assert.deepEqual([on.state(), await on.journal()], [{ ...before, restarts: 2 }, journal]);
    assert.equal(on.containerd.count('Tasks.Create'), 2);
  });

  it('waits for no plain pod that plays a stopped sentry of its own sandbox', async (t) => {
    const on = await scene(t);
    on.addPod(POD, '', SHIM);
    const runc = '/usr/bin/containerd-shim-runc-v2';
    addProcess(on.root, 8_000, { argv: [runc, '-namespace', 'k8s.io', '-id', POD] });
    addProcess(on.root, 8_001, { argv: sandboxArgv(POD), parentPid: 8_000, cgroup: POD_CGROUP, state: 'T' });
    await on.install();
    assert.equal(on.restarts(), 1);
  });

  const UNTOUCHED: Cases = {
    'a candidate that is no sentry': [boots('/usr/bin/runc'), /^pre-prove: .*runc", not a gVisor sandbox/],
    'a candidate that hangs': [
      hangs,
      /^pre-prove: .* it hangs; .*Tasks\.Create: no answer within 60 s.*\(SandboxHangs\)/,
    ],
    'a candidate that prints nothing': [prints(''), /^pre-prove: .* in the sandbox printed ""/],
    'a file that changes settings': [adds('[debug]\\nx = 1'), /^validate: .* more .*: debug\.x /],
    'a file that changes a handler': [adds(`${RUNC}\\nx = 1`), /^validate: .*runtimes\.runc\.options\.x /],
    'a file that is refused': [dumps('! grep -q BEGIN'), /^validate: containerd refuses .*ConfigInvalid\)/],
    'a container that starts': [starts('version'), /^quiet: .* not safe now: container b of sandbox a+ /],
  };
  for (const [what, [spoil, because]] of Object.entries(UNTOUCHED))
    it(`stops at ${what}: nothing restarts, and all is as before`, async (t) => {
      const on = await scene(t);
      const before = on.state();
      spoil(on);
      const said = await refusal(on.install());
      assert.match(said, because);
      assert.deepEqual(on.state(), { ...before, files: ['install-runsc.json'] });
      assert.doesNotMatch(on.said.join('\n'), /^undo/m);
      const { failure, ...rest } = (await on.journal()) ?? {};
      assert.deepEqual([failure?.step, rest], [said.split(':')[0], { format: 1, handler: 'runsc' }]);
      // A busy node says nothing about the release.
      const again =
        failure?.step === 'quiet'
          ? because
          : /^journal: The installation of release-1 failed at .*with --retry-now/;
      assert.match(await refusal(on.install()), again);
    });

  /** What fails in an upgrade after the write, how often containerd restarts there and back, and the refusal. */
  const RESTORED: Readonly<Record<string, [(on: Scene) => unknown, number, RegExp]>> = {
    'a restart that fails': [restartsBy('exit 4'), 0, /^restart: containerd did not restart: .*ended with 4/],
    'a container that starts': [starts('release-2'), 0, /^quiet: .*container b of sandbox a+ /],
    'a file that is not loaded': [restartsBy('echo >>run/restarts'), 1, /^restart: .*\(HandlerNotLoaded\)/],
    'a sandbox that does not start': [fails('runsc', 'release-2'), 2, /^prove: .*"runsc" .*\(ShimNotFound\)/],
    'a runc that does not start': [fails('', 'release-2'), 2, /^prove: .*default .*\(NoSandboxStarts\)/],
  };
  for (const [what, [spoil, restarts, because]] of Object.entries(RESTORED))
    it(`undoes an upgrade after ${what}`, async (t) => {
      const on = await scene(t);
      await on.install();
      const [before, journal] = [on.state(), await on.journal()];
      spoil(on);
      const said = await refusal(on.install('release-2'));
      assert.match(said, because);
      assert.deepEqual(on.state(), { ...before, restarts: 1 + restarts });
      const { failure, ...rest } = (await on.journal()) ?? {};
      assert.deepEqual([failure?.step, rest], [said.split(':')[0], journal]);
      assert.equal(on.said.at(-1), 'undo pass the node works as before');
    });

  it('keeps what others write meanwhile when it undoes its own, and leaves the rest to the next run', async (t) => {
    const on = await scene(t);
    fails('', 'BEGIN')(on);
    const restored = on.containerd.scripts.RunPodSandbox as Script;
    on.script({ RunPodSandbox: (each) => (on.restarts() > 1 ? refuses('it ends')(each) : restored(each)) });
    const restartCommand = `echo '# meanwhile' >>.${CONFIG}; ${on.node.restartCommand}`;
    const said = await refusal(on.install('release-1', {}, { restartCommand }));
    assert.match(said, /^restart: .*could not be restored either .*: the next run tries again/);
    assert.equal(on.read(CONFIG), `${ORIGINAL}# meanwhile\n# meanwhile\n`);
    const { pending, failure } = (await on.journal()) ?? {};
    assert.deepEqual([pending?.step, failure?.tries], ['prove', 1]);
    fails('', 'never')(on);
    await on.install('release-2');
    assert.match(on.state().files?.join() ?? '', /^install-runsc.json,release-2-\w+$/);
  });

  it('tries a release that failed again once its time has come, and another at once', async (t) => {
    const on = await scene(t);
    await refusal(on.install('release-1', {}, NOT_LOADING));
    await on.install('release-2');
    await refusal(on.install('release-1', { retryNow: true }, NOT_LOADING));
    assert.match(await refusal(on.install()), /^journal: The installation of release-1 failed/);
    edits(JOURNAL, /"at": "\d+/, '"at": "2001')(on);
    await on.install();
    assert.equal((await on.journal())?.failure, undefined);
  });

  it('does not count a restart command that fails against the release', async (t) => {
    const on = await scene(t);
    for (const _ of [1, 2, 3])
      assert.match(await refusal(on.install('release-1', {}, FAILING)), /^restart: /);
    const { tries, restarts } = (await on.journal())?.failure ?? {};
    assert.deepEqual([tries, restarts], [0, 0]);
    await on.install();
  });

  it('writes nothing in a dry run, and restarts nothing for a machine image', async (t) => {
    const on = await scene(t);
    const before = on.state();
    await on.install('release-1', { dryRun: true });
    assert.equal(on.said.at(-1), 'restart skipped would restart containerd: yes');
    assert.match(on.said.at(-2) ?? '', /would change .*\n\+\+\+ \S+\n\+# BEGIN gvisor-ready runsc:/s);
    assert.deepEqual(on.state(), before);
    await on.install('release-1', {}, { noRestart: true });
    assert.notEqual(on.read(CONFIG), ORIGINAL);
    const proofs = on.containerd.count('RunPodSandbox');
    assert.deepEqual([on.read(LOADED), on.restarts(), proofs], [ORIGINAL, 0, 0]);
  });

  /** What containerd says of a pod's container after the restart, and what that means. */
  const GONE_PODS: Readonly<Record<string, [Script, isLost: boolean]>> = {
    'ended with its own exit code': [() => ({ status: { state: 'CONTAINER_EXITED', exitCode: 1 } }), false],
    'lost its shim': [() => ({ status: { state: 'CONTAINER_EXITED', exitCode: 255 } }), true],
    'was killed': [() => ({ status: { state: 'CONTAINER_EXITED', exitCode: 137 } }), true],
    'is in an unknown state': [() => ({ status: { state: 'CONTAINER_UNKNOWN' } }), true],
    'is forgotten': [refuses('not found', status.NOT_FOUND), true],
  };
  for (const [what, [says, isLost]] of Object.entries(GONE_PODS))
    it(`undoes nothing for a pod that ${what}, and ${isLost ? 'names it as lost' : 'succeeds'}`, async (t) => {
      const on = await scene(t);
      on.addPod(POD, '', SHIM);
      const containers = [{ id: 'b', podSandboxId: POD, state: 'CONTAINER_RUNNING' }];
      const list = (request: object) => on.containerd.usual('ListPodSandbox', request);
      on.script({
        ListContainers: () => ({ containers }),
        ListPodSandbox: (request) => (on.restarts() > 0 ? { items: [] } : list(request)),
        ContainerStatus: says,
      });
      const lost = /^restart: The change is made and proven, but pods were lost .*: eval\/pod\. See kubectl/;
      assert.match(await refusal(on.install()), isLost ? lost : /^nothing was refused/);
      const { installed, failure, pending } = (await on.journal()) ?? {};
      assert.equal(on.read(CONFIG), `${ORIGINAL}${installed?.written.text}`);
      assert.deepEqual([on.restarts(), failure?.restarts, pending], [1, isLost ? 1 : undefined, undefined]);
      const ended = /pods that run on: 0; pods that ended by themselves: eval\/pod$/m;
      assert.equal(ended.test(on.said.join('\n')), !isLost);
      if (isLost) assert.match(await refusal(on.install()), /^journal: .* with --retry-now/);
    });

  it('restarts nothing if it failed before it wrote, whatever containerd has loaded meanwhile', async (t) => {
    const on = await scene(t);
    await on.install();
    for (const path of [CONFIG, LOADED]) on.write(path, ORIGINAL); // another program, and a reboot
    prints('')(on);
    const said = await refusal(on.install('release-2'));
    assert.match(said, /^pre-prove: .*so nothing was changed/);
    assert.doesNotMatch(said, /could not be restored/);
    assert.deepEqual([on.read(CONFIG), on.restarts()], [ORIGINAL, 1]);
  });

  it('waits for a containerd that takes ten minutes to start, and restarts it once', async (t) => {
    const on = await scene(t);
    const fromMs = performance.now(); // pauses end at once, and this clock jumps by them
    let [stopped, started]: Promise<void>[] = [];
    const because: Node['because'] = (cause) => {
      if (cause === 'containerd is being restarted') stopped ??= on.containerd.stop();
      else if (stopped && performance.now() - fromMs > 600_000) started ??= on.containerd.start();
    };
    await on.install('release-1', {}, { because });
    assert.deepEqual([started !== undefined, on.restarts()], [true, 1]);
  });

  it('gives up on a containerd whose process is gone', async (t) => {
    const on = await scene(t);
    restartsBy(`${on.node.restartCommand}; rm -r ./proc/10?`)(on);
    const because: Node['because'] = (cause) => {
      if (cause === 'containerd is being restarted') void on.containerd.stop();
    };
    const said = await refusal(on.install('release-1', {}, { because }));
    assert.match(said, /^restart: containerd did not respond .*could not be restored either/);
    assert.deepEqual([on.read(CONFIG), on.restarts()], [ORIGINAL, 2]);
  });

  const REFUSED: Cases = {
    'half a journal': [edits(JOURNAL, /.{99}$/s, ''), /^journal: .*cannot be understood/],
    'a full disk': [({ root }) => mkdirSync(`${root}${JOURNAL}.gvisor-ready-new`), /^stage: .*EISDIR/],
    'a stopped containerd': [({ containerd }) => containerd.stop(), /^check: .*\(ContainerdUnreachable\)$/],
    'a containerd without a unit': [restartsBy(undefined), /^check: No systemd unit runs containerd here/],
  };
  for (const [what, [spoil, because]] of Object.entries(REFUSED))
    it(`refuses ${what}, and touches nothing`, async (t) => {
      const on = await scene(t);
      await on.install();
      await spoil(on);
      const before = on.state();
      assert.match(await refusal(on.install('release-2')), because);
      assert.deepEqual({ ...on.state(), files: before.files }, before);
    });

  it('refuses a disk with less than 1 GiB', async (t) => {
    const on = await scene(t);
    t.mock.method(fs, 'statfs', async () => ({ bavail: 1_023, bsize: 2 ** 20 }));
    syncBuiltinESMExports();
    const said = await refusal(on.install());
    t.mock.restoreAll();
    syncBuiltinESMExports();
    assert.match(said, /^check: Only 1023 MiB are free in "\/usr"/);
  });

  it('asks a containerd that is too busy to answer again', async (t) => {
    const on = await scene(t);
    let calls = 0;
    const busy = refuses('Deadline exceeded after 3 s', status.DEADLINE_EXCEEDED);
    on.script({ Version: (each) => (calls++ < 3 ? busy(each) : on.containerd.usual('Version', each)) });
    await on.install();
    on.script({ Version: busy });
    assert.match(
      await refusal(on.install()),
      /^check: containerd does not respond .*\(ContainerdUnreachable\)$/,
    );
  });

  it('waits while a containerd starts that somebody restarted, and not for one that has run for long', async (t) => {
    const on = await scene(t);
    const starts = refuses('server is not initialized yet', status.UNAVAILABLE);
    let calls = 0;
    on.script({
      Version: (each) => (calls++ % 60 < 59 ? starts(each) : on.containerd.usual('Version', each)),
    });
    on.write('/proc/uptime', '5.00\n');
    await preflight(on.node);
    assert.equal(calls, 60);
    await remove(on.node, KEEP);
    assert.equal(calls, 120);
    on.write('/proc/uptime', '1000.00\n');
    const said = await refusal(on.install());
    assert.match(said, /^check: containerd does not respond .*not initialized.*\(ContainerdUnreachable\)$/);
    assert.equal(calls, 121);
  });

  it("leaves another owner's handler alone, and goes beside it", async (t) => {
    const on = await scene(t);
    const text = `${ORIGINAL}${ORIGINAL.replaceAll('runc', 'runsc').split('\n').slice(1).join('\n')}`;
    for (const path of [CONFIG, LOADED]) on.write(path, text);
    assert.match(await refusal(on.install()), /^check: .*line 4 configures the handler "runsc" already/);
    const beside = { ...on.node, handler: 'runsc-2' };
    await on.install('release-1', {}, beside);
    // Its owner removes the old one, once the RuntimeClass has moved.
    for (const path of [CONFIG, LOADED]) on.write(path, on.read(path).replace(text, ORIGINAL));
    await remove(beside, KEEP);
    assert.equal(on.read(CONFIG), ORIGINAL);
  });
});

it('rollback goes to the generation before the last commit, and back', async (t) => {
  const on = await scene(t);
  await on.install();
  assert.match(await refusal(rollback(on.node)), /^journal: There is no earlier generation/);
  const config = on.read(CONFIG);
  await on.install('release-2');
  const journal = await on.journal();
  await rollback(on.node);
  const { installed, previous } = (await on.journal()) ?? {};
  assert.deepEqual([on.read(CONFIG), installed, previous], [config, journal?.previous, journal?.installed]);
  await rollback(on.node);
  const left = journal?.previous?.generation;
  assert.deepEqual([await on.journal(), on.restarts()], [{ ...journal, left }, 4]);
  assert.match(await refusal(on.install()), /^journal: A rollback left release-1\. .*--retry-now/);
  rmSync(`${on.root}${left}/runsc`);
  assert.match(await refusal(rollback(on.node)), /^stage: ".*\/runsc" is damaged or missing/);
  assert.equal(on.restarts(), 4);
});

describe('remove', () => {
  it('brings back what was there before, also after an interruption, and says once that it is done', async (t) => {
    const on = await scene(t);
    const before = on.state();
    await on.install();
    await on.install('release-2');
    const installed = on.state();
    assert.match(
      await refusal(remove({ ...on.node, ...FAILING }, KEEP)),
      /^restart: containerd did not restart/,
    );
    const { pending, failure } = (await on.journal()) ?? {};
    assert.deepEqual([on.state(), pending, failure?.removes], [installed, undefined, true]);
    await remove(on.node, KEEP);
    assert.deepEqual([on.state(), on.said.at(-1)], [{ ...before, restarts: 3 }, GONE]);
    await remove(on.node, KEEP);
    assert.match(on.said.at(-1) ?? '', /^commit skipped handler "runsc" is not installed/);
  });

  it('refuses while pods of its handler run, and by force keeps their programs', async (t) => {
    const on = await scene(t);
    const canary = { ...on.node, handler: 'runsc-canary' };
    await on.install();
    const generation = (await on.journal())?.installed?.generation;
    await on.install('release-2', {}, canary);
    on.addPod(POD, 'runsc', `${generation}/containerd-shim-runsc-v1`);
    const before = on.state();
    assert.match(
      await refusal(remove(on.node, KEEP)),
      /^quiet: Pods of handler "runsc" still run \(eval\/pod\)/,
    );
    assert.deepEqual(on.state(), before);
    await remove(on.node, { ...KEEP, force: true });
    assert.equal(on.said.at(-2)?.split(',')[0], `stage skipped ${generation} stays`);
    await remove(canary, KEEP);
    assert.deepEqual([on.read(CONFIG), on.state().files], [ORIGINAL, [generation?.split('/').at(-1)]]);
  });

  const forget = ({ containerd, root }: Scene) => {
    containerd.sandboxes.remove(POD);
    rmSync(`${root}${BUNDLES}`, { recursive: true });
  };
  const mutes = (on: Scene) => {
    on.containerd.sandboxes.remove(POD);
    const spoil = `rm -r .${BUNDLES}/k8s.io; ln -s k8s.io .${BUNDLES}/k8s.io`;
    Object.assign(on.node, { restartCommand: `${on.node.restartCommand}; ${spoil}` });
    return () => forget(on);
  };
  const ends = (on: Scene) => {
    on.containerd.sandboxes.end(POD);
    return () => forget(on);
  };
  it('ends the shim of a dead probe, which containerd cannot remove', async (t) => {
    const on = await scene(t);
    await on.install();
    const shim = `${(await on.journal())?.installed?.generation}/containerd-shim-runsc-v1`;
    on.addPod(POD, 'runsc', shim, 'gvisor-probe-1-2');
    on.containerd.sandboxes.end(POD);
    addProcess(on.root, 8_000, { argv: [shim] });
    symlinkSync(`${BUNDLES}/k8s.io/${POD}`, `${on.root}/proc/8000/cwd`);
    addProcess(on.root, 8_001, { argv: ['sh', `/k8s.io/${POD}`], cgroup: POD_CGROUP }); // a pod's own
    const kill = t.mock.method(process, 'kill', () => forget(on));
    await remove(on.node, KEEP);
    const killed = kill.mock.calls.map((call) => call.arguments);
    assert.deepEqual([killed, on.said.at(-1)], [[[8_000, 'SIGKILL']], GONE]);
  });

  /** What keeps programs and how to end it, the upgrades since they came, and the text that names it. */
  const KEPT: Readonly<Record<string, [(on: Scene) => () => unknown, number, RegExp]>> = {
    'a sandbox that is ending': [ends, 0, /still run \/usr\S+release-1-\w+/],
    'a sandbox of an earlier release': [ends, 2, /still run \/usr\S+release-1-\w+/],
    'a containerd that does not say what it needs': [mutes, 0, /containerd does not say which programs it/],
  };
  for (const [what, [keep, upgrades, because]] of Object.entries(KEPT))
    it(`waits for ${what}, and says that it is done only then`, async (t) => {
      const on = await scene(t);
      await on.install();
      on.addPod(POD, 'runsc', `${(await on.journal())?.installed?.generation}/containerd-shim-runsc-v1`);
      for (let upgrade = 0; upgrade < upgrades; upgrade++)
        await on.install('release-2', { flags: new Map([['debug', String(upgrade)]]) });
      const end = keep(on);
      const said = await refusal(remove(on.node, KEEP));
      assert.match(
        said,
        /^stage: Handler "runsc" is gone, and its programs are not: .*Run remove again later/,
      );
      assert.match(said, because);
      assert.ok(!on.said.includes(GONE));
      const causes: string[] = [];
      const wait: Node['because'] = (cause, step) => {
        if (step === 'stage' && causes.push(cause) === 1) end();
      };
      await remove({ ...on.node, because: wait }, KEEP);
      assert.match(causes.join(), because);
      assert.deepEqual([on.said.at(-1), on.state().files], [GONE, undefined]);
    });
});

describe('what was interrupted for another handler', () => {
  const OTHER = { handler: 'runsc-canary' };
  const upgrade = (on: Scene, further: Partial<Node>) => on.install('release-2', {}, further);
  const takeAway = (on: Scene, further: Partial<Node>) => remove({ ...on.node, ...further }, KEEP);

  for (const [what, isCommitted, change] of [
    ['an installation, to nothing', false, upgrade],
    ['an upgrade, to its last commit', true, upgrade],
    ['a removal, to its last commit', true, takeAway],
  ] as const)
    it(`goes back in the next run: ${what}`, async (t) => {
      const on = await scene(t);
      await on.install();
      if (isCommitted) await on.install('release-1', {}, OTHER);
      const [config, journal] = [on.read(CONFIG), await on.journal(OTHER.handler)];
      const files = new Map<string, string>();
      const report: Node['report'] = ({ step }) => {
        // The files as a kill leaves them before the proof.
        for (const path of [CONFIG, LOADED, installJournal(OTHER.handler)])
          if (step === 'restart') files.set(path, on.read(path));
      };
      await change(on, { ...OTHER, report });
      for (const [path, text] of files) on.write(path, text);
      assert.notEqual(on.read(LOADED), config);
      await on.install();
      const said = /undo pass took back the (installation|removal) .* in step \w+, of handler "runsc-canary"/;
      assert.match(on.said.join('\n'), said);
      assert.deepEqual([on.read(CONFIG), on.read(LOADED)], [config, config]);
      assert.deepEqual(await on.journal(OTHER.handler), journal);
    });
});
