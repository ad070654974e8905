import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { after, describe, it } from 'node:test';
import { attempt, type Target } from '../../egress/attempt.ts';
import { tryAtStart } from '../../egress/start.ts';
import { Watch } from '../../egress/watch.ts';
import { waitFor } from '../../hack/run.ts';

/** Has no route. */
const NOWHERE: Target = { name: 'nowhere', host: '255.255.255.255', port: 80 };

const servers: net.Server[] = [];
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
  for (const server of servers) server.close();
});

async function listening(name: string): Promise<{ readonly target: Target; readonly server: net.Server }> {
  const server = net.createServer((socket) => socket.destroy());
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { target: { name, host: '127.0.0.1', port: (server.address() as AddressInfo).port }, server };
}

/** Answers no more. */
async function silenced(name: string): Promise<Target> {
  const { target, server } = await listening(name);
  server.close();
  await once(server, 'close');
  return target;
}

/** Its kernel drops packets, because a process that is stopped accepts none of the connections that wait. */
async function dropping(name: string): Promise<Target> {
  const script = `const server = net.createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ['--eval', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const target = { name, host: '127.0.0.1', port: Number(String(line)) };
  child.kill('SIGSTOP');
  await waitFor('its queue to be full', 30_000, async () => (await attempt(target, 100)) === 'closed');
  return target;
}

const CONFIG = { isRefusedOpen: true, forMs: 300, intervalMs: 20, lifetimeMs: 60_000 };

describe('an attempt to connect', () => {
  it('is open if something answers, refused by a reset, and closed without an answer', async () => {
    assert.equal(await attempt((await listening('pod')).target, 60_000), 'open');
    assert.equal(await attempt(await silenced('pod'), 60_000), 'refused');
    assert.equal(await attempt(NOWHERE, 60_000), 'closed');
    assert.equal(await attempt(await dropping('pod'), 50), 'closed');
  });

  it('says nothing if the process got no processor time meanwhile', async () => {
    const { target } = await listening('pod');
    const [late, answered] = [attempt(await dropping('silent'), 50), attempt(target, 50)];
    await new Promise(setImmediate);
    const untilMs = performance.now() + 400;
    while (performance.now() < untilMs);
    assert.equal(await late, 'unseen');
    assert.equal(await answered, 'open');
  });
});

describe('a canary of egress that starts', () => {
  it('says of each target for how long it was open, since the first try', async () => {
    const { target, server } = await listening('race');
    setTimeout(() => server.close(), 100);
    const targets = [target, NOWHERE, (await listening('open')).target];
    const message = await tryAtStart({ ...CONFIG, targets, isRefusedOpen: false });
    const [race, nowhere, open] = message.targets;
    assert.equal(nowhere?.open, undefined);
    assert.ok((race?.open?.untilMs ?? 0) < (open?.open?.untilMs ?? 0), JSON.stringify(message));
    for (const { tries } of message.targets) assert.ok(tries > 1);
    assert.ok(message.forMs >= 300);
    assert.ok((message.sandboxMs ?? 0) > 0);
  });

  it('believes a refusal only where the settings say that policies refuse', async () => {
    const targets = [await silenced('refused')];
    const openOf = async (isRefusedOpen: boolean) =>
      (await tryAtStart({ ...CONFIG, targets, isRefusedOpen })).targets.map(({ open }) => open !== undefined);
    assert.deepEqual([await openOf(true), await openOf(false)], [[true], [false]]);
  });
});

describe('a canary of egress that runs', () => {
  it('is closed until a target opens, which ends it', async () => {
    const target = await silenced('pod');
    const watch = new Watch({ ...CONFIG, isRefusedOpen: false, targets: [target] });
    assert.equal(watch.isClosed, false);
    const found = watch.run();
    await waitFor('all to be closed', 10_000, async () => watch.isClosed);
    const server = net.createServer();
    servers.push(server);
    server.listen(target.port, target.host);
    const { targets = [] } = (await found) ?? {};
    assert.deepEqual(
      targets.map(({ name, tries, open }) => [name, tries, open?.fromMs]),
      [['pod', 1, 0]],
    );
  });

  it('ends with its life', async () => {
    const watch = new Watch({ ...CONFIG, targets: [NOWHERE], lifetimeMs: 1 });
    assert.equal(await watch.run(), undefined);
  });
});
