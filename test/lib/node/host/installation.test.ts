import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  installJournal,
  isUnderWay,
  parseJournal,
  readInstallation,
} from '../../../../lib/node/host/installation.ts';
import { tempHost } from './temp-host.ts';

const JOURNAL = installJournal('runsc-kvm');
const GENERATION = '/usr/local/lib/gvisor/release-20260223.0-0123456789ab';
const WRITTEN = { file: '/etc/containerd/config.toml', isDropIn: false, text: '' };
const SINCE = '2026-11-28T16:40:42.000Z';
const PENDING = {
  generation: GENERATION,
  written: WRITTEN,
  step: 'restart',
  since: SINCE,
  process: { pid: 4711, startTicks: 815 },
};
const FAILED = { step: 'pre-prove', reason: 'RunscNotFound', message: 'does not boot here', at: SINCE };
const FAILURE = { ...FAILED, generation: GENERATION, tries: 1, restarts: 0 };
const journalOf = (parts: object) => JSON.stringify({ format: 1, handler: 'runsc-kvm', ...parts });
/** /proc/PID/stat of an installer that began at these ticks. */
const statOf = (startTicks: number, flags = 0) =>
  `4711 (node (x)) S 1 ${'0 '.repeat(4)}${flags} ${'0 '.repeat(12)}${startTicks} 0\n`;
const MINUTE_MS = 60_000;

describe('parseJournal', () => {
  it('reads what was committed, what is under way and what failed', () => {
    const text = journalOf({ installed: { generation: GENERATION }, pending: PENDING, failure: FAILURE });
    const release = 'release-20260223.0';
    assert.deepEqual(parseJournal(text), {
      installed: release,
      pending: { release, step: 'restart', since: SINCE, interrupted: true },
      process: { pid: 4711, startTicks: 815 },
      failure: { ...FAILED, release },
    });
  });

  it('knows a removal', () => {
    const { pending } = parseJournal(journalOf({ pending: { ...PENDING, removes: true } }));
    assert.equal(pending?.removes, true);
  });

  const UNKNOWN: Readonly<Record<string, object>> = {
    'a directory of another owner': { installed: { generation: '/opt/gvisor' } },
    'a release that is no name': { installed: { generation: `/x/<script>-0123456789ab` } },
    'an endless name': { installed: { generation: `/x/${'r'.repeat(99)}-0123456789ab` } },
    'a step that is no word': { pending: { ...PENDING, step: 'restart\u001b[2J' } },
    'a step that is no text': { pending: { ...PENDING, step: { toString: 'restart' } } },
    'a time that is none': { pending: { ...PENDING, since: 'yesterday' } },
    'parts that are no objects': { installed: 1, pending: 'x', failure: [null] },
    'a failure without a time': { failure: { ...FAILURE, at: null } },
  };
  for (const [name, parts] of Object.entries(UNKNOWN))
    it(`leaves out ${name}`, () => {
      assert.deepEqual(parseJournal(journalOf(parts)), {});
    });

  it('keeps the message of a failure on one short line, and drops a reason that is no word', () => {
    const message = `\u202e<b>\n${'x'.repeat(9_999)}`;
    const { failure } = parseJournal(journalOf({ failure: { ...FAILURE, reason: 'a b', message } }));
    assert.equal(failure?.message.startsWith('\ufffd<b> xxx'), true);
    assert.deepEqual([failure?.message.length, failure?.reason], [500, undefined]);
  });

  for (const text of ['', '{', 'null', '[]', '{"format":2}', '"format"'])
    it(`throws for ${text || 'an empty file'}`, () => {
      assert.throws(() => parseJournal(text));
    });
});

describe('readInstallation', () => {
  const CASES: Readonly<Record<string, readonly [stat: string | undefined, laterMs: number, boolean]>> = {
    'at work': [statOf(815), 0, true],
    'interrupted, as its process is gone': [undefined, 0, false],
    'interrupted, as its process is ending': [statOf(815, 4), 0, false],
    'interrupted, as its PID is of another process': [statOf(816), 0, false],
    'at work for minutes': [statOf(815), 14 * MINUTE_MS, true],
    'stuck, as no step took that long': [statOf(815), 16 * MINUTE_MS, false],
  };
  for (const [name, [stat, laterMs, expected]] of Object.entries(CASES))
    it(`sees an installer ${name}`, async (t) => {
      const host = await tempHost(t, {
        [JOURNAL]: journalOf({ pending: PENDING }),
        ...(stat === undefined ? {} : { '/proc/4711/stat': stat }),
      });
      const installation = await readInstallation(host, 'runsc-kvm', Date.now() + laterMs);
      assert.equal(installation?.pending?.release, 'release-20260223.0');
      assert.equal(isUnderWay(installation), expected);
    });

  it('counts an installer without a process as interrupted', async (t) => {
    const { process: _, ...pending } = PENDING;
    const host = await tempHost(t, { [JOURNAL]: journalOf({ pending }) });
    assert.equal((await readInstallation(host, 'runsc-kvm', Date.now()))?.pending?.interrupted, true);
  });

  const installed = { generation: GENERATION };
  const NOTHING: Readonly<Record<string, Parameters<typeof tempHost>[1]>> = {
    'no journal': {},
    'the journal of another handler': { [installJournal('runsc')]: journalOf({ installed }) },
    'another format': { [JOURNAL]: '{"format":2}' },
    'half a journal': { [JOURNAL]: journalOf({ pending: PENDING }).slice(0, 99) },
    'a journal of many megabytes': { [JOURNAL]: journalOf({ installed, pad: 'x'.repeat(999_999) }) },
    'a journal without anything': { [JOURNAL]: journalOf({}) },
    'a directory in its place': { [`${JOURNAL}/x`]: '' },
  };
  for (const [name, files] of Object.entries(NOTHING))
    it(`knows nothing of ${name}`, async (t) => {
      assert.equal(await readInstallation(await tempHost(t, files), 'runsc-kvm', Date.now()), undefined);
    });
});
