import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { installJournal, isUnderWay, readInstallation } from '../../../lib/host/installation.ts';
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

describe('readInstallation', () => {
  const read = async (t: TestContext, files: Parameters<typeof tempHost>[1], wallMs = Date.now()) =>
    readInstallation(await tempHost(t, files), 'runsc-kvm', wallMs);
  const installed = { generation: GENERATION };

  it('reads what was committed, what is under way and what failed', async (t) => {
    const journal = journalOf({ installed, pending: { ...PENDING, removes: true }, failure: FAILURE });
    const release = 'release-20260223.0';
    assert.deepEqual(await read(t, { [JOURNAL]: journal }), {
      installed: release,
      pending: { release, step: 'restart', since: SINCE, removes: true, interrupted: true },
      failure: { ...FAILED, release },
    });
  });

  it('keeps the message of a failure on one short line, and drops a reason that is no word', async (t) => {
    const message = `\u202e<b>\n${'x'.repeat(9_999)}`;
    const journal = journalOf({ failure: { ...FAILURE, reason: 'a b', message } });
    const { failure } = (await read(t, { [JOURNAL]: journal })) ?? {};
    assert.equal(failure?.message.startsWith('\ufffd<b> xxx'), true);
    assert.deepEqual([failure?.message.length, failure?.reason], [500, undefined]);
  });

  const { process: _, ...unnamed } = PENDING;
  type Case = readonly [stat: string | undefined, laterMs: number, expected: boolean, pending?: object];
  const CASES: Readonly<Record<string, Case>> = {
    'at work': [statOf(815), 0, true],
    'interrupted, as its process is gone': [undefined, 0, false],
    'interrupted, as its process is ending': [statOf(815, 4), 0, false],
    'interrupted, as its PID is of another process': [statOf(816), 0, false],
    'interrupted, as it names no process': [statOf(815), 0, false, unnamed],
    'at work for minutes': [statOf(815), 14 * MINUTE_MS, true],
    'stuck, as no step took that long': [statOf(815), 16 * MINUTE_MS, false],
  };
  for (const [name, [stat, laterMs, expected, pending = PENDING]] of Object.entries(CASES))
    it(`sees an installer ${name}`, async (t) => {
      const files = { [JOURNAL]: journalOf({ pending }), ...(stat && { '/proc/4711/stat': stat }) };
      const installation = await read(t, files, Date.now() + laterMs);
      assert.equal(installation?.pending?.release, 'release-20260223.0');
      assert.equal(isUnderWay(installation), expected);
    });

  const PARTS: Readonly<Record<string, object>> = {
    'a directory of another owner': { installed: { generation: '/opt/gvisor' } },
    'a release that is no name': { installed: { generation: `/x/<script>-0123456789ab` } },
    'an endless name': { installed: { generation: `/x/${'r'.repeat(99)}-0123456789ab` } },
    'a step that is no word': { pending: { ...PENDING, step: 'restart\u001b[2J' } },
    'a step that is no text': { pending: { ...PENDING, step: { toString: 'restart' } } },
    'a time that is none': { pending: { ...PENDING, since: 'yesterday' } },
    'parts that are no objects': { installed: 1, pending: 'x', failure: [null] },
    'a failure without a time': { failure: { ...FAILURE, at: null } },
    'another format': { installed, format: 2 },
    'a journal of many megabytes': { installed, pad: 'x'.repeat(999_999) },
    'a journal without anything': {},
  };
  const NOTHING: Readonly<Record<string, Parameters<typeof tempHost>[1]>> = {
    ...Object.fromEntries(
      Object.entries(PARTS).map(([name, parts]) => [name, { [JOURNAL]: journalOf(parts) }]),
    ),
    ...Object.fromEntries(
      ['', '{', 'null', '[]', '"format"'].map((text) => [`"${text}"`, { [JOURNAL]: text }]),
    ),
    'no journal': {},
    'the journal of another handler': { [installJournal('runsc')]: journalOf({ installed }) },
    'half a journal': { [JOURNAL]: journalOf({ pending: PENDING }).slice(0, 99) },
    'a directory in its place': { [`${JOURNAL}/x`]: '' },
  };
  for (const [name, files] of Object.entries(NOTHING))
    it(`knows nothing of ${name}`, async (t) => assert.equal(await read(t, files), undefined));
});
