import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import pino from 'pino';
import type { NodeParts } from '../../agent/handler.ts';
import { ProofTurns } from '../../agent/proof/turns.ts';
import { parseConfig } from '../../agent/start/config.ts';
import { readDistribution } from '../../lib/containerd/distribution.ts';
import { Host } from '../../lib/host/host.ts';
import { ownerMarks } from '../../lib/proof/sandbox.ts';
import { RunscPrograms } from '../../lib/runsc/program.ts';
import { PATIENT_MS, tempHost } from '../lib/host/temp-host.ts';
import { fakeContainerd } from '../lib/proof/fake-containerd.ts';

type Env = Readonly<Record<string, string>>;
type Changes = { readonly files?: Parameters<typeof tempHost>[1]; readonly env?: Env };

/** The parts that `main.ts` makes for a node with two handlers, around a fake containerd. */
export async function nodeScene(t: TestContext, { files = {}, env = {} }: Changes = {}) {
  const host = await tempHost(t, files);
  const { containerd, client } = await fakeContainerd(t, {}, { root: host.root });
  const settings = { NODE_NAME: 'node-1', HOST_ROOT: host.root, HANDLERS: 'runsc,runsc-kvm', ...env };
  const { config, problems } = parseConfig(settings, { hostname: 'node-1', inCluster: false });
  assert.deepEqual(problems, []);
  const marks = ownerMarks(1 + config.additionalHandlers.length);
  const node: NodeParts = {
    config,
    log: pino({ level: 'silent' }),
    host,
    distribution: await readDistribution(host),
    client,
    programs: new RunscPrograms(),
    mark: marks[0] ?? '',
    probes: { host: new Host(host.root, PATIENT_MS), turns: new ProofTurns(PATIENT_MS), marks },
    signal: new AbortController().signal,
  };
  return { node, containerd };
}
