import type { Cluster } from '../../cluster/cluster.ts';
import { assertAccepted } from './admission-case.ts';
import { type Admission, callsAs } from './admission-cluster.ts';
import { USERS } from './admission-users.ts';
import { applyBase, startApiServer, useStarted } from './api-server.ts';
import { type Row, requestOf } from './case-request.ts';
import { readCases } from './case-yaml.ts';
import { FleetObjects } from './fleet-objects.ts';
import { WRITERS } from './writer-users.ts';

/** Creates Nodes, their agents and the objects of `cases/node-objects.yaml`. Returns the clients that write Nodes. */
async function prepareWriters(cluster: Cluster): Promise<Admission> {
  const { objects: items, writes } = readCases<{
    readonly objects: readonly object[];
    readonly writes: readonly Row[];
  }>('node-objects');
  const objects = await FleetObjects.open(cluster);
  for (const at of [1, 2, 3, 4, 5, 6, 8, 9]) await objects.addNode(`node-${at}`);
  const admission = { cluster, as: callsAs(cluster, { ...WRITERS, admin: USERS.admin }) };
  for (const row of writes) assertAccepted(await admission.as('admin', await requestOf(admission, row)));
  await cluster.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  return admission;
}

/** Starts an API server with the base and components, and calls {@link prepareWriters}. */
export async function startWriters(components: readonly string[]): Promise<Admission> {
  const cluster = await startApiServer();
  await applyBase(cluster, components);
  return prepareWriters(cluster);
}

/** {@link startWriters} for the tests of a file. */
export const useWriters = (components: readonly string[]): (() => Admission) =>
  useStarted('api', () => startWriters(components));
