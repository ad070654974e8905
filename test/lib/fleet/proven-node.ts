import { OWN_KEYS } from '../../../lib/report/node-object.ts';

/** The wall clock of a fleet's tests. */
export const AT = '2026-11-25T12:00:00Z';
const CONDITION = { lastHeartbeatTime: AT, lastTransitionTime: AT, message: 'm' };
export const PROVEN = { type: 'GVisorReady', status: 'True', reason: 'SandboxProven', ...CONDITION };
export const ready = (status: string) => ({ type: 'Ready', status, reason: 'r', ...CONDITION });

/** A proven, Ready Node that is a day old. */
export const provenNode = (name: string) => ({
  metadata: {
    name,
    uid: `uid-${name}`,
    resourceVersion: '7',
    creationTimestamp: '2026-11-24T12:00:00Z',
    labels: { [OWN_KEYS.labels.ready]: 'true' },
    annotations: { [OWN_KEYS.annotations.provenBoot]: 'boot-1' },
  },
  spec: {},
  status: { nodeInfo: { bootID: 'boot-1' }, conditions: [ready('True'), PROVEN] },
});
