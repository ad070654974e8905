import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readPressure } from '../../../lib/host/pressure.ts';
import { mockCpuTimes } from './cpu-times.ts';
import { tempHost } from './temp-host.ts';

/** Pressure stall information, which a throttled pod raises on an idle node, and the load do not count. */
const THROTTLED = {
  '/proc/pressure/cpu': 'some avg10=97.00 avg60=97.00 avg300=97.00 total=1\n',
  '/proc/loadavg': '90.00 90.00 90.00 9/99 1\n',
};

describe('readPressure', { concurrency: true }, () => {
  for (const [idle, expected] of [
    [100, undefined],
    [10, undefined],
    [9, "the node's CPUs are idle 9 % of the time"],
    [0, "the node's CPUs are idle 0 % of the time"],
  ] as const)
    it(`is ${expected ?? 'undefined'} if CPUs are idle ${idle} % of the time`, async (t) => {
      const host = await tempHost(t, THROTTLED);
      mockCpuTimes(t, host, idle);
      assert.equal(await readPressure(host), expected);
    });

  for (const [name, files] of [
    ['no file', {}],
    ['a malformed file', { '/proc/stat': 'nonsense\n' }],
    ['counters that do not advance', { '/proc/stat': 'cpu  9 0 0 0 0 0 0 0 0 0\n' }],
  ] as const)
    it(`is undefined with ${name}`, async (t) => {
      assert.equal(await readPressure(await tempHost(t, files)), undefined);
    });
});
