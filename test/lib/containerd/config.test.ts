import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { readContainerdConfig, resolveConfig } from '../../../lib/containerd/config.ts';
import { parseContainerdFile } from '../../../lib/containerd/config-files.ts';
import { TomlFault } from '../../../lib/containerd/toml.ts';
import { tempHost } from '../host/temp-host.ts';

const ROOT = '/etc/containerd/config.toml';
const DROP_IN = '/etc/containerd/d/a.toml';
const RUNSC = 'runtime_type = "io.containerd.runsc.v1"';
const RUNC = 'runtime_type = "io.containerd.runc.v2"';
const V3 = 'plugins."io.containerd.cri.v1.runtime".containerd.runtimes';

type Row = {
  readonly name: string;
  readonly root: string;
  readonly dropIn?: string;
  readonly expected: Readonly<Record<string, 'read' | 'ignored' | 'absent' | 'fault'>>;
  readonly why?: Readonly<Record<string, string>>;
  readonly problem?: string;
};

const FIXTURE = new URL('../../fixtures/containerd-configs.yaml', import.meta.url);
const ROWS = parse(readFileSync(FIXTURE, 'utf8')) as readonly Row[];

describe('readContainerdConfig', () => {
  for (const { name, root, dropIn, expected, why, problem } of ROWS)
    for (const [release, outcome] of Object.entries(expected))
      it(`${name} under ${release}: ${outcome}`, async (t) => {
        const host = await tempHost(t, { [ROOT]: root, ...(dropIn && { [DROP_IN]: dropIn }) });
        const { fault, runtimes, ignored } = await readContainerdConfig(host, ROOT, release);
        const mention = ignored.find(({ handler }) => handler === 'runsc');
        const unread = mention ? 'ignored' : 'absent';
        const actual = runtimes.has('runsc') ? 'read' : unread;
        assert.equal(fault ? 'fault' : actual, outcome);
        const line = root.split('\n').findIndex((each) => each.includes('.runsc]')) + 1;
        if (problem !== undefined) assert.deepEqual(fault, { file: ROOT, line, problem });
        if (why?.[release] === undefined) return;
        assert.partialDeepStrictEqual(mention, { file: ROOT, line, isLoaded: true, why: why[release] });
      });

  it('returns the options of a handler with the last file that sets it, and the built-in type of runc', async (t) => {
    const host = await tempHost(t, {
      [ROOT]: `version = 3\nimports = ["d/*.toml"]\n\n[${V3}.runsc]\n${RUNC}\n[${V3}.runc]\nsnapshotter = "x"\n`,
      [DROP_IN]: `version = 3\n\n\n[${V3}.runsc]\n${RUNSC}\nsnapshotter = "native"\npod_annotations = ["dev.gvisor.*"]\nbase_runtime_spec = "/s"\ncni_conf_dir = "/c"\nruntimePath = "/ignored"\n[${V3}.runsc.options]\nConfigPath = "/x"\n`,
    });
    const { runtimes, files } = await readContainerdConfig(host, ROOT, 'v2.2.2');
    assert.deepEqual(files, [ROOT, DROP_IN]);
    const unset = { runtimePath: '', snapshotter: '', baseRuntimeSpec: '', cniConfDir: '', ioType: '' };
    assert.deepEqual(Object.fromEntries(runtimes), {
      runc: {
        ...unset,
        runtimeType: 'io.containerd.runc.v2',
        snapshotter: 'x',
        podAnnotations: [],
        options: {},
        file: ROOT,
        line: 6,
      },
      runsc: {
        runtimeType: 'io.containerd.runsc.v1',
        runtimePath: '',
        snapshotter: 'native',
        podAnnotations: ['dev.gvisor.*'],
        baseRuntimeSpec: '/s',
        cniConfDir: '/c',
        ioType: '',
        options: { ConfigPath: '/x' },
        file: DROP_IN,
        line: 4,
      },
    });
  });

  it('guesses the rules from the version of the files when the release is unknown', async (t) => {
    for (const [version, expected] of ['1.x', '1.x', '1.x', '2.0', '2.3', '2.3'].entries()) {
      const host = await tempHost(t, { [ROOT]: `version = ${version}\n` });
      const { rules, rulesAssumed } = await readContainerdConfig(host, ROOT);
      assert.deepEqual([rules, rulesAssumed], [expected, true]);
    }
  });

  it('has only the built-in handler without a root file, even beside drop-ins', async (t) => {
    const host = await tempHost(t, { '/etc/containerd/conf.d/a.toml': `[${V3}.runsc]\n${RUNSC}\n` });
    const { runtimes, files, ignored } = await readContainerdConfig(host, ROOT, 'v2.4.2');
    assert.deepEqual([[...runtimes.keys()], files], [['runc'], []]);
    assert.match(ignored.at(-1)?.why ?? '', /^no file that containerd loads imports/);
  });
});

describe('resolveConfig', () => {
  const TABLES = [
    'plugins.cri.containerd.runtimes',
    'plugins."io.containerd.grpc.v1.cri".containerd.runtimes',
    V3,
    V3.replace(/s$/, ''),
    'plugins.io.containerd.cri',
    'plugins.x',
  ];
  const VERSIONS = ['', 'version = 1\n', 'version = 2\n', 'version = 3\n', 'version = 4\n'];
  const HANDLERS = ['runc', 'runsc', 'kata', '__proto__', 'constructor', 'a.b'];
  const entry = fc.tuple(
    fc.constantFrom(...TABLES),
    fc.constantFrom(...HANDLERS),
    fc.constantFrom(RUNSC, RUNC, '', 'x = 1'),
  );
  const selector = ([table, handler]: readonly string[]) => `${table}.${handler}`;
  const document = fc.record({
    version: fc.constantFrom(...VERSIONS),
    entries: fc.uniqueArray(entry, { selector, maxLength: 5 }),
  });
  const rules = fc.constantFrom('1.x', '2.0', '2.3' as const);

  it('invents no handler, and reports every mention as a handler or as ignored', () => {
    fc.assert(
      fc.property(fc.array(document, { minLength: 1, maxLength: 4 }), rules, (documents, chosen) => {
        const texts = documents.map(({ version, entries }) =>
          [version, ...entries.map(([table, name, line]) => `[${table}."${name}"]\n${line}\n`)].join(''),
        );
        const files = texts.map((text, index) => parseContainerdFile(text, `/${index}`));
        const named = documents
          .flatMap(({ entries }) => entries)
          .filter(([table, , line]) => /runtimes?$/.test(table) || line.startsWith('runtime_type'))
          .map(([, name]) => name);
        const { runtimes, ignored, fault } = resolveConfig({ files }, chosen);
        for (const [name, { file, line = 0 }] of runtimes)
          assert.ok(file === undefined ? name === 'runc' : named.includes(name) && line > 0, name);
        const reported = new Set([...runtimes.keys(), ...ignored.map(({ handler }) => handler)]);
        if (!fault)
          assert.ok(
            named.every((name) => reported.has(name)),
            texts.join(),
          );
      }),
    );
  });

  it('throws only TomlFault, whatever the text', () => {
    const characters = fc.constantFrom(...'[]"=.\n1{} pluginscrimtv');
    fc.assert(
      fc.property(fc.string({ unit: characters, maxLength: 200 }), rules, (content, chosen) => {
        try {
          resolveConfig({ files: [parseContainerdFile(content, '/x')] }, chosen);
        } catch (error) {
          assert.ok(error instanceof TomlFault, String(error));
        }
      }),
    );
  });
});
