import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { readDistribution, rememberConfigPath } from '../../../agent/containerd/distribution.ts';
import { addProcess, type FakeProcess, removeProcess } from '../host/fake-process.ts';
import { tempHost } from '../host/temp-host.ts';

const DEFAULT = '/etc/containerd/config.toml';
const PID = 7;

/** A host with these processes, and a containerd that says which of them it is. */
async function nodeWith(
  t: TestContext,
  processes: Readonly<Record<number, FakeProcess>>,
  { named, pid = PID }: { readonly named?: string; readonly pid?: number } = {},
) {
  const host = await tempHost(t);
  for (const [each, process] of Object.entries(processes)) addProcess(host.root, Number(each), process);
  const asked: number[] = [];
  const client = {
    pid,
    serverPid: async () => {
      asked.push(client.pid);
      if (client.pid < 0) throw new Error('containerd does not answer');
      return client.pid;
    },
  };
  const configPath = rememberConfigPath({ host, client, distribution: await readDistribution(host), named });
  return { host, client, asked, configPath };
}

const argv = (command: string): FakeProcess => ({ argv: command.split(' ') });

describe('rememberConfigPath', () => {
  const CASES: readonly [string, expected: string, command: string][] = [
    ['one that names no file', DEFAULT, '/usr/bin/containerd'],
    ['--config', '/usr/share/c.toml', '/usr/bin/containerd --config /usr/share/c.toml'],
    ['--config=', '/usr/share/c.toml', '/usr/bin/containerd --log-level info --config=/usr/share/c.toml'],
    ['-c', '/var/c.toml', 'containerd -c /var/c.toml -a /run/containerd/containerd.sock'],
    ['-c=', '/var/c.toml', 'containerd -c=/var/c.toml'],
    ['a relative path', DEFAULT, 'containerd -c c.toml'],
    ['a flag without its value', DEFAULT, 'containerd --config'],
    ['a containerd under another name', '/var/c.toml', '/opt/bin/anything -c /var/c.toml'],
  ];
  for (const [name, expected, command] of CASES) {
    it(`is ${expected} for ${name}`, async (t) => {
      const { configPath } = await nodeWith(t, { [PID]: argv(command) });
      assert.equal(await configPath(), expected);
    });
  }

  it('never looks at a process that is merely named containerd', async (t) => {
    const forged = argv('containerd --config /tmp/forged.toml');
    const { configPath } = await nodeWith(t, { [PID]: argv('containerd'), 8: forged, 9: forged });
    assert.equal(await configPath(), DEFAULT);
  });

  it('does not count a process whose PID is another in its own namespace', async (t) => {
    for (const namespacedPids of [[PID, 1], [PID, PID], [8], [Number.NaN]]) {
      const forged = { ...argv('containerd --config /tmp/forged.toml'), namespacedPids };
      const { configPath } = await nodeWith(t, { [PID]: forged });
      assert.equal(await configPath(), DEFAULT, `${namespacedPids}`);
    }
  });

  it("takes the settings' word, and asks nobody", async (t) => {
    const process = { [PID]: argv('containerd -c /var/c.toml') };
    const { configPath, asked } = await nodeWith(t, process, { named: '/named.toml' });
    assert.deepEqual([await configPath(), asked], ['/named.toml', []]);
  });

  it('asks until containerd has told, and then no more', async (t) => {
    const process = { [PID]: argv('containerd -c /var/c.toml') };
    const { configPath, client, asked, host } = await nodeWith(t, process, { pid: -1 });
    assert.equal(await configPath(), DEFAULT);
    client.pid = 0;
    assert.equal(await configPath(), DEFAULT);
    client.pid = PID;
    assert.equal(await configPath(), '/var/c.toml');
    removeProcess(host.root, PID);
    assert.equal(await configPath(), '/var/c.toml');
    assert.deepEqual(asked, [-1, 0, PID]);
  });

  it("is the distribution's where the process has ended meanwhile", async (t) => {
    const { configPath, asked } = await nodeWith(t, {});
    assert.deepEqual([await configPath(), await configPath()], [DEFAULT, DEFAULT]);
    assert.deepEqual(asked, [PID, PID]);
  });
});
