import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { forbidden } from '../fake-api.ts';
import { ADMISSION, AGENT_PODS, DAEMON_SET_PATH, openFleet, setReport } from '../fleet.ts';
import { agentObject, agentStatus, podObject, sandboxesOf } from '../fleet-objects.ts';

const FILES = [
  'about.json',
  'check.json',
  'events/gvisor-ready.json',
  'events/nodes.json',
  'logs/agent-node-1.log',
  'logs/agent-node-1.previous.log',
  'logs/agent-node-2.log',
  'logs/agent-node-3.log',
  'logs/fleet-1.log',
  'nodes.json',
  'objects/agents.json',
  'objects/daemonset.json',
  'objects/deployment.json',
  'objects/fleet.json',
  'objects/namespaces.json',
  'objects/nodes.json',
  'objects/policies.json',
  'objects/policy-bindings.json',
  'objects/runtimeclasses.json',
  'reports/node-1.json',
  'reports/node-2.json',
  'reports/node-3.json',
  'status.json',
  'version.json',
];

/** The files of an archive by name. */
async function unpack(file: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const source = Readable.from(await readFile(file)).pipe(createGunzip());
  const entries = source.pipe(extract() as unknown as NodeJS.WritableStream) as unknown as ReturnType<
    typeof extract
  >;
  for await (const entry of entries) {
    files.set(entry.header.name.replace(/^gvisor-ready\//, ''), await text(entry as unknown as Readable));
  }
  return files;
}

async function bundle(t: TestContext) {
  const fleet = await openFleet(t);
  const { api } = fleet;
  const directory = await mkdtemp(join(tmpdir(), 'bundle-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const agents = ['node-1', 'node-2', 'node-3'].map((name) => agentObject(name));
  const [first] = agents;
  const statuses = first?.status.containerStatuses.map((each) => ({ ...each, restartCount: 2 }));
  api.list(AGENT_PODS, [
    { ...first, status: { ...first?.status, containerStatuses: statuses } },
    ...agents.slice(1),
  ]);
  for (const name of ['agent-node-1', 'agent-node-2', 'agent-node-3', 'fleet-1'])
    api.stubs.set(`${AGENT_PODS}/${name}/log`, (url: URL) => ({
      status: 200,
      body: `${name} previous=${url.searchParams.has('previous')}\n`,
      type: 'text/plain',
    }));
  api.list('/api/v1/namespaces/gvisor-ready/events', [{ metadata: { name: 'e' }, reason: 'Killing' }]);
  api.list('/api/v1/namespaces/default/events', [{ metadata: { name: 'n' }, reason: 'GVisorReady' }]);
  const file = join(directory, 'b.tar.gz');
  return { ...fleet, file, write: () => fleet.run(`support-bundle -o ${file}`) };
}

describe('support-bundle', () => {
  it('writes reports, logs, objects, events and the results of commands into one file of the user', async (t) => {
    const { file, write } = await bundle(t);
    const { code, out, err } = await write();
    assert.deepEqual([code, err], [0, 'Reading 23 files of 3 nodes ...\n']);
    assert.equal(out, `Wrote ${file}: 24 files.\n`);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const files = await unpack(file);
    assert.deepEqual([...files.keys()].sort(), FILES);
    assert.equal(files.get('logs/agent-node-1.previous.log'), 'agent-node-1 previous=true\n');
    const json = (name: string) => JSON.parse(files.get(name) ?? '');
    assert.equal(json('reports/node-3.json').verdict.reason, 'ShimNotFound');
    assert.equal(json('status.json').result, 'fail');
    assert.equal(json('check.json').result, 'fail');
    assert.equal(json('objects/nodes.json')[2].status.conditions[1].reason, 'ShimNotFound');
    assert.deepEqual(json('objects/namespaces.json'), [{ name: 'eval', 'gvisor-ready.dev/require': 'true' }]);
    const again = await write();
    assert.deepEqual([again.code, /EEXIST/.test(again.err)], [2, true], 'overwrites no file');
  });

  it('holds no secrets, and no pods of others but the names of those that alarm', async (t) => {
    const { api, file, write } = await bundle(t);
    const env = [
      { name: 'LOG_LEVEL', value: 'debug' },
      { name: 'PROXY_PASSWORD', value: 'hunter2' },
      { name: 'FROM', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
    ];
    const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': 'hunter2' };
    const managedFields = [{ manager: 'hunter2' }];
    api.stubs.set(DAEMON_SET_PATH, {
      metadata: { name: 'gvisor-ready-agent', annotations, managedFields },
      spec: { template: { spec: { containers: [{ env }] } } },
    });
    api.list(`${ADMISSION}/validatingadmissionpolicies`, [{ metadata: { name: 'of-another-team' } }]);
    const tenant = { ...podObject('tenant', { containers: [{ env: [{ name: 'KEY', value: 'hunter2' }] }] }) };
    api.list('/api/v1/namespaces/eval/pods', [tenant]);
    const sandboxes = sandboxesOf(['quiet', 'ShimLingers']);
    setReport(api, 'node-1', agentStatus('node-1', { inside: ['tenant'] }, { sandboxes }));
    await write();
    const files = await unpack(file);
    for (const [name, content] of files)
      assert.doesNotMatch(content, /hunter2|of-another-team|"quiet"|uid-tenant|uid-quiet/, name);
    const daemonSet = JSON.parse(files.get('objects/daemonset.json') ?? '');
    assert.deepEqual(daemonSet.spec.template.spec.containers[0].env, [
      { name: 'LOG_LEVEL', value: 'debug' },
      { name: 'PROXY_PASSWORD', value: 'REDACTED' },
      env[2],
    ]);
    assert.equal(
      JSON.parse(files.get('reports/node-1.json') ?? '').sandboxes.problems[0].reason,
      'ShimLingers',
    );
    assert.ok(!api.requests.some((each) => /secrets|configmaps/.test(each)));
  });

  it('leaves no file when it is interrupted', async (t) => {
    const { api, file, run } = await bundle(t);
    const stop = new AbortController();
    api.stubs.set(`${AGENT_PODS}/fleet-1/log`, () => {
      stop.abort();
      return {};
    });
    const { code, err } = await run(`support-bundle -o ${file}`, { signal: stop.signal });
    assert.deepEqual([code, /Interrupted\.\n$/.test(err)], [130, true]);
    await assert.rejects(stat(file), /ENOENT/);
  });

  it('names what it could not read, and writes the rest', async (t) => {
    const { api, file, write } = await bundle(t);
    api.stubs.set(`${AGENT_PODS}/agent-node-2/log`, forbidden('get', 'pods/log', 'gvisor-ready'));
    api.stubs.set(`${AGENT_PODS}/agent-node-2/portforward`, { status: 500, body: 'error' });
    const { code, out, err } = await write();
    assert.equal(code, 2);
    assert.match(out, /: 22 files\.$/m);
    assert.match(err, /^Not in it: logs\/agent-node-2\.log: the API server answers 403: .*pods\/log/m);
    assert.match(err, /^Not in it: reports\/node-2\.json: the agent answers 500: error$/m);
    const { problems } = JSON.parse((await unpack(file)).get('about.json') ?? '');
    assert.deepEqual(problems.map(({ file }: { file: string }) => file).sort(), [
      'logs/agent-node-2.log',
      'reports/node-2.json',
    ]);
  });
});
