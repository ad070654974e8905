import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { CLUSTERS } from '../../cluster/clusters.ts';
import { FAULTS } from '../../cluster/faults/faults.ts';
import { REPO } from '../../hack/paths.ts';
import { runAll } from '../../hack/run.ts';

const ROOT = process.getuid?.() === 0;
/** A cluster that no test starts: after each refusal there must be nothing of it. */
const NAME = 'never-started';
const work = mkdtempSync(join(tmpdir(), 'cluster-test-'));
after(() => rmSync(work, { recursive: true }));

function cluster(args: readonly string[], env: NodeJS.ProcessEnv = {}, uid?: number) {
  const node = [process.execPath, '--import', 'tsx', 'cluster/main.ts', ...args];
  const [command = '', ...rest] =
    uid === undefined
      ? node
      : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', ...node];
  return runAll(command, rest, { cwd: REPO, env: { ...process.env, ...env } });
}

async function assertRefused(args: readonly string[], line: RegExp, env?: NodeJS.ProcessEnv): Promise<void> {
  const { code, stdout, stderr } = await cluster(args, env);
  assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
  assert.equal(stdout, '');
  const said = stderr
    .trimEnd()
    .split('\n')
    .filter((each) => !/^[…✗]/.test(each)); // progress is no error
  assert.equal(said.length, 1, stderr);
  assert.match(said[0] ?? '', line);
  assert.ok(!existsSync(join(CLUSTERS, NAME)), 'nothing of the cluster is left');
}

/** A folder with a `go` that behaves as `script` says, to be put first in PATH. */
function fakeGo(name: string, script: string): NodeJS.ProcessEnv {
  const bin = mkdtempSync(join(work, `${name}-`));
  writeFileSync(join(bin, 'go'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, 'go'), 0o755);
  return { PATH: `${bin}:${process.env.PATH}`, GVISOR_READY_CACHE: join(bin, 'cache') };
}

describe('words that nothing stands for', () => {
  const table: readonly (readonly [string, RegExp])[] = [
    ['upp', /unknown command 'upp' \(Did you mean up\?\)/],
    ['--nam x up', /unknown option '--nam' \(Did you mean --name\?\)/],
    [`up --name ${NAME} --prot 2`, /unknown option '--prot' \(Did you mean --port\?\)/],
    ['up now', /too many arguments for 'up'/],
    [`up --name ${NAME} --nodes many`, /'--nodes <count>' argument 'many' is invalid.*from 1 to 50/],
    [`up --name ${NAME} --nodes 2 --node name=a`, /'--nodes <count>' cannot be used with option '--node /],
    [`up --name ${NAME} --port 70000`, /'--port <port>' argument '70000' is invalid.*from 1 to 65535/],
    [`up --name ${NAME} --node name=a,gvisor=2024`, /Instead of "gvisor=2024" write .* gvisor=current\|2025/],
    ['break node-1', /missing required argument 'fault'/],
    ['break node-1 shim-mising', /'shim-mising' is invalid.*Allowed choices are shim-missing, /],
    ['restart node-1 etcd', /'etcd' is invalid.*Allowed choices are containerd, kubelet/],
    ['node ad x', /'ad' is invalid.*Allowed choices are add, remove/],
    ['--name', /'--name <cluster>' argument missing/],
    ['up --nodes', /'--nodes <count>' argument missing/],
  ];
  for (const [words, line] of table) {
    test(words, () => assertRefused(words.split(' '), line));
  }
});

test('help, faults and list are for everybody', async () => {
  const help = await cluster(['--help']);
  assert.equal(help.code, 0);
  for (const word of ['up', 'status', 'kubectl', 'break', 'heal', 'down']) {
    assert.match(help.stdout, new RegExp(`^  ${word}\\b`, 'm'));
  }
  const faults = await cluster(['faults']);
  for (const name of Object.keys(FAULTS)) assert.match(faults.stdout, new RegExp(`^${name} `, 'm'));
  assert.equal((await cluster(['list'])).code, 0);
  assert.match((await cluster(['up', '--help'])).stdout, /name=NAME,containerd=2\|1\.7,/);
});

test('without root, the message names sudo', async (t) => {
  // The sources may lie where only root can read, so that somebody else could not even start.
  const other = ROOT ? 65_534 : undefined;
  if (ROOT) {
    const may = await runAll('setpriv', [
      '--reuid=65534',
      '--clear-groups',
      '--',
      'test',
      '-r',
      join(REPO, 'package.json'),
    ]);
    if (may.code !== 0)
      return t.diagnostic('covered by the test of requireRoot: nobody may read this folder');
  }
  const { code, stderr } = await cluster(['up', '--name', NAME], {}, other);
  assert.equal(code, 2);
  assert.equal(
    stderr,
    'Only root can make namespaces, mounts and cgroups: run the same command with sudo.\n',
  );
});

describe('a machine on which no cluster can start', {
  skip: ROOT ? false : 'needs root: sudo npm run test:unit',
}, () => {
  test('a cluster that is not up', async () => {
    await assertRefused(
      ['status', '--name', NAME],
      /The cluster "never-started" is not up: start it with `npm run/,
    );
    await assertRefused(['heal', 'node-1', '--name', NAME], /is not up/);
    await assertRefused(['--name', NAME, 'kubectl', '--help', '--nam'], /is not up/); // all these words are kubectl's
    await assertRefused(['logs', 'node-1', '--name', NAME], /no cluster "never-started": start it/);
    await assertRefused(['--name', 'No!', 'up'], /"No!" is no name for a cluster: use 1 to 20/);
  });

  test('a port that is taken', async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as { port: number };
    const line = new RegExp(`Port ${port} of 127.0.0.1 is taken: choose another with --port`);
    await assertRefused(['up', '--name', NAME, '--port', String(port)], line);
  });

  test('no Go, or one that is too old', async () => {
    await assertRefused(
      ['up', '--name', NAME],
      /Go is missing.*Install Go 1\.26 or newer/,
      fakeGo('none', 'exit 127'),
    );
    const old = fakeGo('old', 'echo go version go1.19.8 linux/amd64');
    await assertRefused(['up', '--name', NAME], /go1\.19\.8 linux\/amd64 is too old\. Install Go 1\.26/, old);
  });

  test('a disk that is full during a build', async () => {
    const full = fakeGo(
      'full',
      '[ "$1" = version ] && echo go version go1.26.8 linux/amd64 && exit\necho "write x.a: no space left on device" >&2; exit 1',
    );
    await assertRefused(['up', '--name', NAME], /The disk is full: building \S+ needs up to 16 GB/, full);
    assert.deepEqual(readdirSync(join(full.GVISOR_READY_CACHE ?? '', 'tools')), []);
  });
});
