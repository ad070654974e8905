import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { readContainerdConfig, resolveConfig } from '../../../../lib/node/containerd/config.ts';
import { parseContainerdFile } from '../../../../lib/node/containerd/config-files.ts';
import { TomlFault } from '../../../../lib/node/containerd/toml.ts';
import { tempHost } from '../host/temp-host.ts';

const ROOT = '/etc/containerd/config.toml';
const RUNSC = 'runtime_type = "io.containerd.runsc.v1"';
const RUNC = 'runtime_type = "io.containerd.runc.v2"';
const V1 = 'plugins.cri.containerd.runtimes';
const V2 = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes';
const V3 = 'plugins."io.containerd.cri.v1.runtime".containerd.runtimes';
const TYPO = V3.replace(/s$/, '');

/** A file of a version ("" for none) with runc, which 1.x needs, and runsc in a table. */
function file(version: string, table: string, more = ''): string {
  const first = version && `version = ${version}\n`;
  return `${more}${first}[${table}.runc]\n${RUNC}\n[${table}.runsc]\n${RUNSC}\n`;
}

const IMPORT = 'imports = ["d/*.toml"]\n';
const RUNC_ONLY = (version: string, table: string) =>
  `${IMPORT}version = ${version}\n[${table}.runc]\n${RUNC}\n`;

/** A file of version 3 with these lines in the table of runsc. */
const only = (...lines: readonly string[]) => `version = 3\n[${V3}.runsc]\n${lines.join('\n')}\n`;
const CRI = 'plugins."io.containerd.cri.v1.runtime".containerd';
const KATA = `${file('3', V3)}[${CRI}]\ndefault_runtime_name = "kata"\n`;
const REGISTRY = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/c"\n';
const RUNSC_2 = `[${V2}.runsc]\n${RUNSC}\n`;
const RUNC_3 = `[${V3}.runc]\n${RUNC}\n`;
const DEFAULT_2 = `[${V2.replace('runtimes', 'default_runtime')}]\n${RUNC}\n`;
const DISABLED = 'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n';
const INLINE = `[${V3}]\nrunsc.runtime_type = "io.containerd.runsc.v1"\nrunc = { ${RUNC} }\n`;

const RELEASES = ['1.7.34', 'v2.2.2', 'v2.4.2'];

/** A root file, and whether each release has runsc (read), ignores it, has none (absent), or refuses the file (fault). */
type Row = readonly [name: string, root: string, expected: string, dropIn?: string];

const ROWS: readonly Row[] = [
  ['a table of version 1 without a version', file('', V1), 'read ignored read'],
  ['a table of version 1', file('1', V1), 'read ignored read'],
  ['a table of version 2 without a version', file('', V2), 'ignored ignored read'],
  ['a table of version 2', file('2', V2), 'read read read'],
  ['a short name in version 2', file('2', V1), 'fault ignored ignored'],
  ['a table of version 2 in version 3', file('3', V2), 'fault ignored read'],
  ['a table of version 3', file('3', V3), 'fault read read'],
  ['a table of version 3 in version 2', file('2', V3), 'ignored read read'],
  ['version 4', file('4', V3), 'fault fault read'],
  ['a table of version 2 in version 4', file('4', V2), '- - ignored'],
  ['version 5', file('5', V3), '- - fault'],
  ['version 5 and a drop-in of version 4', file('5', V3, IMPORT), '- - fault', 'version = 4\n'],
  ['an unquoted plugin id', file('3', V3.replaceAll('"', '')), '- ignored ignored'],
  ['"runtime" instead of "runtimes"', file('3', TYPO), '- ignored ignored'],
  ['the images plugin', file('3', V3.replace('runtime"', 'images"')), '- ignored ignored'],
  ['a table outside of plugins', file('3', V3.replace('plugins.', '')), '- ignored -'],
  ['version 3 and a drop-in of version 2', RUNC_ONLY('3', V3), '- ignored read', file('2', V2)],
  ['version 2 and a drop-in of version 3', RUNC_ONLY('2', V2), 'fault read read', file('3', V3)],
  ['version 2 and a drop-in of only version 3', file('2', V2, IMPORT), 'fault ignored read', 'version = 3\n'],
  ['version 3 and a version 2 drop-in without a version', RUNC_ONLY('3', V3), '- ignored read', file('', V2)],
  ['version 2 and a drop-in without a version', RUNC_ONLY('2', V2), 'read read read', file('', V2)],
  ['version 2 and a drop-in for the registry', file('2', V2, IMPORT), 'ignored read read', REGISTRY],
  ['a list of runtimes instead of a table', `version = 3\n[[${V3}]]\n${RUNSC}\n`, '- fault fault'],
  ['a numeric runtime_type', only('runtime_type = 1'), '- - fault'],
  ['text as options', only(RUNSC, 'options = "x"'), '- - fault'],
  ['text as pod_annotations', only(RUNSC, 'pod_annotations = "a"'), '- - fault'],
  ['numbers as pod_annotations', only(RUNSC, 'pod_annotations = [1]'), '- - fault'],
  ['a default handler that does not exist', KATA, '- - fault'],
  ['a default_runtime beside it', `${KATA}[${CRI}.default_runtime]\nruntime_type = "a"\n`, '- - fault'],
  ['runtimes without the default handler', `version = 2\n${RUNSC_2}`, 'fault read read'],
  ['runtimes without runc beside a default_runtime', `version = 2\n${DEFAULT_2}${RUNSC_2}`, 'read - -'],
  ['the CRI plugin disabled', `${DISABLED}${file('2', V2)}`, 'fault - fault'],
  ['runsc in an old table beside a new one', `version = 2\n${RUNSC_2}${RUNC_3}`, '- ignored ignored'],
  ['dotted keys and an inline table', `version = 3\n${INLINE}`, '- read read'],
  ['only comments', `# version = 3\n# [${V3}.runsc]\n`, 'absent - absent'],
  ['an empty file', '', 'absent - absent'],
  ['a version in quotes', only(RUNSC).replace('3', '"3"'), '- - fault'],
];

describe('readContainerdConfig', () => {
  for (const [name, root, expected, dropIn] of ROWS) {
    for (const [nth, outcome] of expected.split(' ').entries()) {
      const release = RELEASES[nth];
      if (outcome === '-') continue;
      it(`${name} under ${release}: ${outcome}`, async (t) => {
        const host = await tempHost(t, {
          [ROOT]: root,
          ...(dropIn !== undefined && { '/etc/containerd/d/a.toml': dropIn }),
        });
        const { fault, runtimes, ignored } = await readContainerdConfig(host, ROOT, release);
        const isIgnored = ignored.some(({ handler }) => handler === 'runsc');
        const actual = runtimes.has('runsc') ? 'read' : isIgnored ? 'ignored' : 'absent';
        assert.equal(fault ? 'fault' : actual, outcome);
      });
    }
  }

  it('returns the options of a handler with the last file that sets it', async (t) => {
    const host = await tempHost(t, {
      [ROOT]: `version = 3\nimports = ["d/*.toml"]\n\n[${V3}.runsc]\n${RUNC}\n`,
      '/etc/containerd/d/a.toml': `version = 3\n\n\n[${V3}.runsc]\n${RUNSC}\nsnapshotter = "native"\npod_annotations = ["dev.gvisor.*"]\nbase_runtime_spec = "/s"\ncni_conf_dir = "/c"\n[${V3}.runsc.options]\nConfigPath = "/x"\n`,
    });
    const { runtimes, files } = await readContainerdConfig(host, ROOT, 'v2.2.2');
    assert.deepEqual(files, [ROOT, '/etc/containerd/d/a.toml']);
    const unset = { runtimePath: '', snapshotter: '', baseRuntimeSpec: '', cniConfDir: '' };
    assert.deepEqual(Object.fromEntries(runtimes), {
      runc: { ...unset, runtimeType: 'io.containerd.runc.v2', podAnnotations: [], options: {} },
      runsc: {
        runtimeType: 'io.containerd.runsc.v1',
        runtimePath: '',
        snapshotter: 'native',
        podAnnotations: ['dev.gvisor.*'],
        baseRuntimeSpec: '/s',
        cniConfDir: '/c',
        options: { ConfigPath: '/x' },
        file: '/etc/containerd/d/a.toml',
        line: 4,
      },
    });
  });

  const REASONS: readonly (readonly [release: string, root: string, why: RegExp, dropIn?: string])[] = [
    ['v2.1.5', file('3', V2), /reads \[plugins\."io.containerd.cri.v1.* \(configuration version 3\)$/],
    ['v2.4.2', file('4', V2), /configuration version 4\)$/],
    ['1.7.34', file('', V2), /reads \[plugins\.cri\.containerd.*configuration version 1\)$/],
    ['1.7.34', file('2', V2, IMPORT), /replaces it$/, RUNC_ONLY('2', V2).replace(IMPORT, '')],
    ['v2.2.2', file('3', V3, IMPORT), /replaces it$/, `version = 3\n[${V3}]\nrunsc = 1\n`],
    ['v2.2.2', file('3', V3.replace('plugins.', '')), /reads \[plugins\./],
  ];
  for (const [release, root, why, dropIn] of REASONS) {
    it(`explains under ${release} that ${why.source}`, async (t) => {
      const host = await tempHost(t, { [ROOT]: root, ...(dropIn && { '/etc/containerd/d/a.toml': dropIn }) });
      const { ignored } = await readContainerdConfig(host, ROOT, release);
      const found = ignored.find(({ handler }) => handler === 'runsc');
      assert.ok(found);
      assert.match(found.why, why);
      const line = root.split('\n').findIndex((each) => each.includes('.runsc]')) + 1;
      assert.partialDeepStrictEqual(found, { handler: 'runsc', file: ROOT, line, isLoaded: true });
    });
  }

  it('reports file and line of a value that containerd could not decode', async (t) => {
    const root = `version = 3\n${IMPORT}[${V3}.runsc]\nruntime_type = 1\n`;
    const host = await tempHost(t, { [ROOT]: root, '/etc/containerd/d/a.toml': 'version = 3\n' });
    const { fault } = await readContainerdConfig(host, ROOT, 'v2.4.2');
    assert.deepEqual(fault, { file: ROOT, line: 3, problem: 'runtime_type is not a string' });
  });

  it('keeps the built-in type of runc in 2.x', async (t) => {
    const host = await tempHost(t, { [ROOT]: `version = 3\n[${V3}.runc]\nsnapshotter = "native"\n` });
    const { runtimes } = await readContainerdConfig(host, ROOT, 'v2.4.2');
    assert.equal(runtimes.get('runc')?.runtimeType, 'io.containerd.runc.v2');
  });

  it('guesses the rules from the version of the files when the release is unknown', async (t) => {
    for (const [version, table, expected] of [
      ['2', V2, '1.x'],
      ['3', V3, '2.0'],
      ['4', V3, '2.3'],
    ] as const) {
      const host = await tempHost(t, { [ROOT]: file(version, table) });
      const { rules, rulesAssumed, runtimes } = await readContainerdConfig(host, ROOT);
      assert.deepEqual([rules, rulesAssumed, runtimes.has('runsc')], [expected, true, true]);
    }
  });

  it('has only the built-in handler without a root file, even beside drop-ins', async (t) => {
    const host = await tempHost(t, { '/etc/containerd/conf.d/a.toml': file('3', V3) });
    const { runtimes, files, ignored } = await readContainerdConfig(host, ROOT, 'v2.4.2');
    assert.deepEqual([[...runtimes.keys()], files], [['runc'], []]);
    assert.match(ignored.at(-1)?.why ?? '', /^no file that containerd loads imports/);
  });
});

describe('resolveConfig', () => {
  const table = fc.constantFrom(V1, V2, V3, 'plugins.io.containerd.cri', TYPO, 'plugins.x');
  const handler = fc.constantFrom('runc', 'runsc', 'kata', '__proto__', 'constructor', '"a.b"');
  const text = fc
    .record({
      version: fc.constantFrom('', 'version = 1\n', 'version = 2\n', 'version = 3\n', 'version = 4\n'),
      entries: fc.uniqueArray(fc.tuple(table, handler, fc.constantFrom(RUNSC, RUNC, '', 'x = 1')), {
        selector: ([id, name]) => `${id}.${name}`,
        maxLength: 5,
      }),
    })
    .map(
      ({ version, entries }) =>
        version + entries.map(([id, name, line]) => `[${id}.${name}]\n${line}\n`).join(''),
    );
  const rules = fc.constantFrom('1.x', '2.0', '2.3' as const);

  it('invents no handler, and reports every mention as a handler or as ignored', () => {
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), rules, (texts, chosen) => {
        const files = texts.map((content, index) => parseContainerdFile(content, `/${index}`));
        const { runtimes, ignored, fault } = resolveConfig({ files }, chosen);
        for (const [name, { file, line = 0 }] of runtimes) {
          if (name === 'runc' && file === undefined) continue;
          assert.ok(
            texts.some((content) => content.includes(name)),
            name,
          );
          assert.ok(file !== undefined && line > 0);
        }
        for (const name of ['runsc', 'kata']) {
          const isNamed = texts.some(
            (content) => content.includes(`.${name}]`) && /runtimes?\.|runtime_type/.test(content),
          );
          const isElsewhere = texts.some(
            (content) => content.includes(`plugins.x.${name}]`) || content.includes(`cri.${name}]`),
          );
          const isReported = runtimes.has(name) || ignored.some((mention) => mention.handler === name);
          if (isNamed && !isElsewhere && !fault) assert.ok(isReported, `${name} in ${JSON.stringify(texts)}`);
        }
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
