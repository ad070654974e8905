import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readPressure } from '../../../agent/host/pressure.ts';
import { tempHost } from './temp-host.ts';

const psi = (ten: number, sixty: number, full = 0) =>
  `some avg10=${ten.toFixed(2)} avg60=${sixty.toFixed(2)} avg300=99.00 total=1\nfull avg10=${full}.00 avg60=0.00 avg300=0.00 total=1\n`;
const QUIET = psi(1, 1);
const two = 'cpu  1 2 3\ncpu0 1 2\ncpu1 1 2\nintr 1\n';

describe('readPressure', () => {
  const table: readonly [string, Readonly<Record<string, string>>, string | undefined][] = [
    ['an idle node', { cpu: QUIET, io: QUIET, memory: QUIET }, undefined],
    [
      'a node whose processors are busy now',
      { cpu: psi(97.4, 3), io: QUIET, memory: QUIET },
      'some processes waited for cpu 97 % of the last minute',
    ],
    [
      'one whose pressure has just ended',
      { cpu: psi(0, 20), io: QUIET, memory: QUIET },
      'some processes waited for cpu 20 % of the last minute',
    ],
    ['one just below', { cpu: psi(19.9, 19.9), io: psi(19.9, 0), memory: psi(9.9, 0) }, undefined],
    ['a slow disk', { cpu: QUIET, io: psi(20, 0) }, 'some processes waited for io 20 % of the last minute'],
    [
      'a node out of memory',
      { memory: psi(10, 0) },
      'some processes waited for memory 10 % of the last minute',
    ],
    ['full pressure alone, which cpu does not have', { cpu: psi(0, 0, 90) }, undefined],
    ['a file of another form', { cpu: 'nonsense' }, undefined],
  ];
  for (const [name, files, expected] of table) {
    it(`says ${expected ?? 'nothing'} of ${name}`, async (t) => {
      const paths = Object.entries(files).map(([resource, text]) => [`/proc/pressure/${resource}`, text]);
      // Where the kernel tells pressure, the run queue is not asked.
      const queue = { '/proc/loadavg': '90.00 1.00 1.00 9/99 1\n', '/proc/stat': two };
      const host = await tempHost(t, { ...queue, ...Object.fromEntries(paths) });
      assert.equal(await readPressure(host), expected);
    });
  }

  const queues: readonly [string, Readonly<Record<string, string>>, string | undefined][] = [
    [
      'a long queue',
      { '/proc/loadavg': '3.00 0.10 0.10 1/99 1\n', '/proc/stat': two },
      '3 processes wanted to run on 2 processors',
    ],
    ['a short one', { '/proc/loadavg': '2.99 9.00 9.00 1/99 1\n', '/proc/stat': two }, undefined],
    ['unknown processors', { '/proc/loadavg': '9.00 9.00 9.00 1/99 1\n', '/proc/stat': '' }, undefined],
    ['an unknown queue', { '/proc/loadavg': 'x', '/proc/stat': two }, undefined],
    ['nothing at all', {}, undefined],
  ];
  for (const [name, files, expected] of queues) {
    it(`without pressure files, says ${expected ?? 'nothing'} of ${name}`, async (t) => {
      assert.equal(await readPressure(await tempHost(t, files)), expected);
    });
  }
});
