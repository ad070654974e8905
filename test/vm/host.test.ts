import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { SHIM } from '../../cluster/node/config.ts';
import { bundle } from '../../hack/bundle.ts';
import { CACHE } from '../../hack/paths.ts';
import { patient, waitFor } from '../../hack/run.ts';
import { markedBlock } from '../docs/marked-blocks.ts';
import { useOwnCluster } from '../e2e/e2e-cluster.ts';
import { TIMEOUT_MS, VM_NODE } from './vm-cluster.ts';

const PAGE = 'docs/host.md';
const DIRECTORY = '/usr/local/lib/gvisor-ready';
const LONG = { timeout: patient(600_000) };

/** In the cache, which the guest sees. */
let built = '';
before(async () => {
  built = await mkdtemp(join(CACHE, 'host-'));
  await bundle({ dist: built });
});
after(() => rm(built, { recursive: true, force: true }));
const cluster = useOwnCluster('vm-host', [{ name: VM_NODE, machine: 'vm' }], async (started) => {
  const { system } = started.node(VM_NODE);
  await system.run(['systemctl', 'stop', 'kubelet']);
  const files = ['node', 'agent.cjs'].map((file) => join(built, file));
  await system.run(['mkdir', '-p', DIRECTORY]);
  await system.run(['cp', ...files, DIRECTORY], { timeoutMs: TIMEOUT_MS });
});
const host = () => cluster().node(VM_NODE).system;
const shell = (script: string) => host().run(['/bin/sh', '-ec', script], { timeoutMs: TIMEOUT_MS });

/** What the agent serves; there is no curl in the guest. */
function read(path: string): Promise<string> {
  const script = `fetch('http://127.0.0.1:9477${path}').then((response) => response.text()).then(console.log)`;
  return host().run([`${DIRECTORY}/node`, '-e', script], { timeoutMs: TIMEOUT_MS });
}

/** Waits until the metrics have the verdict. */
async function waitForReason(reason: string): Promise<void> {
  const line = `gvisor_ready_node_reason{reason="${reason}"} 1`;
  await waitFor(line, TIMEOUT_MS, async () => (await read('/metrics')).includes(line));
}

it('proves gVisor with one command', LONG, async () => {
  const text = await shell(markedBlock(PAGE, 'once'));
  console.log(text);
  assert.match(text, /SandboxProven/);
});

it('ends with 1 if gVisor is broken', LONG, async () => {
  await shell(`mv ${SHIM} ${SHIM}.away`);
  await assert.rejects(shell(markedBlock(PAGE, 'once')), /ShimNotFound/);
  await shell(`mv ${SHIM}.away ${SHIM}`);
});

it('watches as a service of systemd: the shim goes and comes back, containerd restarts', LONG, async () => {
  await host().write('/etc/systemd/system/gvisor-ready.service', markedBlock(PAGE, 'unit', 'file'), 0o644);
  await shell(markedBlock(PAGE, 'unit', 'run'));
  await waitForReason('SandboxProven');
  await shell(`mv ${SHIM} ${SHIM}.away`);
  await waitForReason('ShimNotFound');
  assert.match(await read('/'), /ShimNotFound/);
  assert.match(await read('/metrics'), /^gvisor_ready_node_status\{status="True"\} 0$/m);
  await shell(`mv ${SHIM}.away ${SHIM}`);
  await waitForReason('SandboxProven');
  await shell('systemctl restart containerd');
  await waitForReason('SandboxProven');
  assert.match(await read('/metrics'), /^gvisor_ready_node_status\{status="True"\} 1$/m);
  assert.equal((await shell('systemctl is-active gvisor-ready')).trim(), 'active');
});
