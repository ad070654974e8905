import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { readContainerdConfig, resolveConfig } from '../../../agent/host/containerd-config.ts';
import { parseContainerdFile } from '../../../agent/host/containerd-files.ts';
import { TomlFault } from '../../../agent/host/toml.ts';
import { tempHost } from './temp-host.ts';

const ROOT = '/etc/containerd/config.toml';
const RUNSC = 'runtime_type = "io.containerd.runsc.v1"';
const RUNC = 'runtime_type = "io.containerd.runc.v2"';
const V1 = 'plugins.cri.containerd.runtimes';
const V2 = 'plugins."io.containerd.grpc.v1.cri".containerd.runtimes';
const V3 = 'plugins."io.containerd.cri.v1.runtime".containerd.runtimes';

/** A file of that version ("" for none) with runsc in that table, and runc too because 1.x needs it. */
function file(version: string, table: string, more = ''): string {
  const first = version && `version = ${version}\n`;
  return `${more}${first}[${table}.runc]\n${RUNC}\n[${table}.runsc]\n${RUNSC}\n`;
}

/** Releases of each set of rules, and one that is not known. */
type Verdict = 'configured' | 'ignored' | 'fault' | 'absent';

type Row = readonly [
  name: string,
  root: string,
  dropIn: string | undefined,
  Readonly<Record<string, Verdict>>,
];

const IMPORT = 'imports = ["d/*.toml"]\n';
const RUNC_ONLY = (version: string, table: string) =>
  `${IMPORT}version = ${version}\n[${table}.runc]\n${RUNC}\n`;

const ROWS: readonly Row[] = [
  [
    'a table of version 1 without a version',
    file('', V1),
    undefined,
    { '1.7.34': 'configured', 'v2.2.2': 'ignored', 'v2.4.2': 'configured' },
  ],
  [
    'a table of version 1 that says so',
    file('1', V1),
    undefined,
    { '1.7.34': 'configured', 'v2.2.2': 'ignored', 'v2.4.2': 'configured' },
  ],
  [
    'a table of version 2 without a version',
    file('', V2),
    undefined,
    { '1.7.34': 'ignored', 'v2.2.2': 'ignored', 'v2.4.2': 'configured' },
  ],
  [
    'a table of version 2',
    file('2', V2),
    undefined,
    { '1.7.34': 'configured', 'v2.2.2': 'configured', 'v2.4.2': 'configured' },
  ],
  [
    'a short name in version 2',
    file('2', V1),
    undefined,
    { '1.7.34': 'fault', 'v2.2.2': 'ignored', 'v2.4.2': 'ignored' },
  ],
  [
    'a table of version 2 in version 3',
    file('3', V2),
    undefined,
    { '1.7.34': 'fault', 'v2.2.2': 'ignored', 'v2.4.2': 'configured' },
  ],
  [
    'a table of version 3',
    file('3', V3),
    undefined,
    { '1.7.34': 'fault', 'v2.2.2': 'configured', 'v2.4.2': 'configured' },
  ],
  [
    'a table of version 3 in version 2',
    file('2', V3),
    undefined,
    { '1.7.34': 'ignored', 'v2.2.2': 'configured', 'v2.4.2': 'configured' },
  ],
  [
    'version 4',
    file('4', V3),
    undefined,
    { '1.7.34': 'fault', 'v2.2.2': 'fault', 'v2.3.7': 'configured', 'v2.4.2': 'configured' },
  ],
  ['a table of version 2 in version 4', file('4', V2), undefined, { 'v2.4.2': 'ignored' }],
  ['version 5', file('5', V3), undefined, { 'v2.4.2': 'fault' }],
  [
    'an unquoted plugin id',
    file('3', 'plugins.io.containerd.cri.v1.runtime.containerd.runtimes'),
    undefined,
    { 'v2.2.2': 'ignored', 'v2.4.2': 'ignored' },
  ],
  [
    '"runtime" instead of "runtimes"',
    file('3', V3.replace(/s$/, '')),
    undefined,
    { 'v2.2.2': 'ignored', 'v2.4.2': 'ignored' },
  ],
  [
    'the images plugin',
    file('3', V3.replace('runtime"', 'images"')),
    undefined,
    { 'v2.2.2': 'ignored', 'v2.4.2': 'ignored' },
  ],
  [
    'a table outside of plugins',
    file('3', '"io.containerd.cri.v1.runtime".containerd.runtimes'),
    undefined,
    { 'v2.2.2': 'ignored' },
  ],
  [
    'version 3 and a drop-in of version 2',
    RUNC_ONLY('3', V3),
    file('2', V2),
    { 'v2.2.2': 'ignored', 'v2.3.4': 'configured', 'v2.4.2': 'configured' },
  ],
  [
    'version 2 and a drop-in of version 3',
    RUNC_ONLY('2', V2),
    file('3', V3),
    {
      '1.7.34': 'fault',
      'v2.2.2': 'configured',
      'v2.3.4': 'fault',
      'v2.3.5': 'configured',
      'v2.4.2': 'configured',
    },
  ],
  [
    'version 2 with the handler and a drop-in that only says version 3',
    file('2', V2, IMPORT),
    'version = 3\n',
    { '1.7.34': 'fault', 'v2.2.2': 'ignored', 'v2.4.2': 'configured' },
  ],
  [
    'version 3 and a drop-in of version 2 without a version',
    RUNC_ONLY('3', V3),
    file('', V2),
    { 'v2.2.2': 'ignored', 'v2.4.2': 'configured' },
  ],
  [
    'version 2 and a drop-in without a version',
    RUNC_ONLY('2', V2),
    file('', V2),
    { '1.7.34': 'configured', 'v2.2.2': 'configured', 'v2.4.2': 'configured' },
  ],
  [
    'version 2 and a drop-in that sets only the registry',
    file('2', V2, IMPORT),
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/c"\n',
    { '1.7.34': 'ignored', 'v2.2.2': 'configured', 'v2.4.2': 'configured' },
  ],
  [
    'a list of runtimes instead of a table',
    `version = 3\n[[${V3}]]\n${RUNSC}\n`,
    undefined,
    { 'v2.2.2': 'fault', 'v2.4.2': 'fault' },
  ],
  [
    'a runtime_type that is no string',
    `version = 3\n[${V3}.runsc]\nruntime_type = 1\n`,
    undefined,
    { 'v2.4.2': 'fault' },
  ],
  [
    'a table of runtimes without the default handler',
    `version = 2\n[${V2}.runsc]\n${RUNSC}\n`,
    undefined,
    { '1.7.34': 'fault', 'v2.2.2': 'configured', 'v2.4.2': 'configured' },
  ],
  [
    'a default handler that is nowhere',
    `${file('3', V3)}[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "kata"\n`,
    undefined,
    { 'v2.4.2': 'fault' },
  ],
  [
    'the CRI plugin disabled',
    `disabled_plugins = ["io.containerd.grpc.v1.cri"]\n${file('2', V2)}`,
    undefined,
    { '1.7.34': 'fault', 'v2.4.2': 'fault' },
  ],
  [
    'both generations of table in one file, runsc in the older',
    `version = 2\n[${V2}.runsc]\n${RUNSC}\n[${V3}.runc]\n${RUNC}\n`,
    undefined,
    { 'v2.2.2': 'ignored', 'v2.4.2': 'ignored' },
  ],
  [
    'a short and a full id in a file without a version',
    `${file('', V1)}[${V2}.kata]\n${RUNSC}\n`,
    undefined,
    { 'v2.4.2': 'fault' },
  ],
  [
    'dotted keys and an inline table',
    `version = 3\n[${V3}]\nrunsc.runtime_type = "io.containerd.runsc.v1"\nrunc = { ${RUNC} }\n`,
    undefined,
    { 'v2.2.2': 'configured', 'v2.4.2': 'configured' },
  ],
  [
    'only comments',
    `# version = 3\n# [${V3}.runsc]\n`,
    undefined,
    { '1.7.34': 'absent', 'v2.4.2': 'absent' },
  ],
  ['an empty file', '', undefined, { '1.7.34': 'absent', 'v2.4.2': 'absent' }],
  ['a version in quotes', `version = "3"\n[${V3}.runsc]\n${RUNSC}\n`, undefined, { 'v2.4.2': 'fault' }],
];

describe('readContainerdConfig', () => {
  for (const [name, root, dropIn, verdicts] of ROWS) {
    for (const [release, verdict] of Object.entries(verdicts)) {
      it(`finds runsc ${verdict} in ${name} under ${release}`, async (t) => {
        const host = await tempHost(t, {
          [ROOT]: root,
          ...(dropIn !== undefined && { '/etc/containerd/d/a.toml': dropIn }),
        });
        const config = await readContainerdConfig(host, ROOT, { release });
        const isIgnored = config.ignored.some(({ handler }) => handler === 'runsc');
        const seen: Verdict = config.fault
          ? 'fault'
          : config.runtimes.has('runsc')
            ? 'configured'
            : isIgnored
              ? 'ignored'
              : 'absent';
        assert.equal(seen, verdict, JSON.stringify(config));
      });
    }
  }

  it('tells the file and the line of a handler, its options, and the last file that had a word in it', async (t) => {
    const host = await tempHost(t, {
      [ROOT]: `version = 3\nimports = ["d/*.toml"]\n\n[${V3}.runsc]\n${RUNC}\n`,
      '/etc/containerd/d/a.toml': `version = 3\n\n\n[${V3}.runsc]\n${RUNSC}\nsnapshotter = "native"\n[${V3}.runsc.options]\nConfigPath = "/x"\n`,
    });
    const { runtimes, files } = await readContainerdConfig(host, ROOT, { release: 'v2.2.2' });
    assert.deepEqual(files, [ROOT, '/etc/containerd/d/a.toml']);
    assert.deepEqual(runtimes.get('runsc'), {
      runtimeType: 'io.containerd.runsc.v1',
      runtimePath: '',
      snapshotter: 'native',
      options: { ConfigPath: '/x' },
      file: '/etc/containerd/d/a.toml',
      line: 4,
    });
    assert.deepEqual(runtimes.get('runc'), {
      runtimeType: 'io.containerd.runc.v2',
      runtimePath: '',
      snapshotter: '',
      options: {},
    });
  });

  it('says where a handler is ignored, and why', async (t) => {
    const host = await tempHost(t, { [ROOT]: `version = 3\n\n[${V2}.runsc]\n${RUNSC}\n` });
    const { ignored } = await readContainerdConfig(host, ROOT, { release: 'v2.1.5' });
    assert.deepEqual(ignored, [
      {
        handler: 'runsc',
        file: ROOT,
        line: 3,
        why: 'the configuration counts as version 3, where containerd reads [plugins."io.containerd.cri.v1.runtime".containerd.runtimes]',
        isLoaded: true,
      },
    ]);
  });

  it('judges by the version of the files when the release is not known, and says so', async (t) => {
    for (const [version, table, rules] of [
      ['2', V2, '1.x'],
      ['3', V3, '2.0'],
      ['4', V3, '2.3'],
    ] as const) {
      const host = await tempHost(t, { [ROOT]: file(version, table) });
      const config = await readContainerdConfig(host, ROOT);
      assert.deepEqual(
        [config.rules, config.rulesAssumed, config.runtimes.has('runsc')],
        [rules, true, true],
      );
    }
  });

  it('knows only the built-in handler without a root file, even beside drop-ins', async (t) => {
    const host = await tempHost(t, { '/etc/containerd/conf.d/a.toml': file('3', V3) });
    const config = await readContainerdConfig(host, ROOT, { release: 'v2.4.2' });
    assert.deepEqual([...config.runtimes.keys()], ['runc']);
    assert.deepEqual(config.files, []);
    assert.match(config.ignored.at(-1)?.why ?? '', /no file that containerd loads imports/);
  });

  it('finds a handler in a drop-in with another ending, and in the file that other distributions read', async (t) => {
    const k3s = '/var/lib/rancher/k3s/agent/etc/containerd';
    const host = await tempHost(t, {
      [`${k3s}/config.toml`]: 'version = 3\nimports = ["config-v3.toml.d/*.toml"]\n',
      [`${k3s}/config-v3.toml.d/runsc.conf`]: file('3', V3),
      [ROOT]: file('2', V2),
    });
    const { ignored } = await readContainerdConfig(host, `${k3s}/config.toml`, { release: 'v2.1.5-k3s1' });
    const runsc = ignored.filter(({ handler }) => handler === 'runsc');
    assert.deepEqual(
      runsc.map((mention) => mention.file),
      [`${k3s}/config-v3.toml.d/runsc.conf`, ROOT],
    );
    assert.ok(runsc.every(({ isLoaded }) => !isLoaded));
  });

  it('follows imports breadth first, each once, from the directory of the importing file', async (t) => {
    const host = await tempHost(t, {
      [ROOT]: 'version = 3\nimports = ["a/a.toml", "config.toml", "b.toml", "none/*.toml"]\n',
      '/etc/containerd/a/a.toml': 'imports = ["c.toml", "../config.toml"]\n',
      '/etc/containerd/a/c.toml': 'imports = ["a.toml", "/etc/containerd//b.toml"]\n',
      '/etc/containerd/b.toml': '',
    });
    const { files, fault } = await readContainerdConfig(host, ROOT, { release: 'v2.2.2' });
    assert.equal(fault, undefined);
    assert.deepEqual(files, [
      ROOT,
      '/etc/containerd/a/a.toml',
      '/etc/containerd/b.toml',
      '/etc/containerd/a/c.toml',
    ]);
  });

  it('takes what containerd would refuse for a fault with a file and a line', async (t) => {
    const files = {
      missing: 'version = 2\nimports = ["gone.toml"]\n',
      directory: 'imports = ["/etc"]\n',
      truncated: 'version = 2\n[plugins."io.cont',
      glob: 'imports = ["[*"]\n',
    };
    const host = await tempHost(
      t,
      Object.fromEntries(Object.entries(files).map(([name, text]) => [`/c/${name}.toml`, text])),
    );
    for (const [name, line] of [
      ['missing', 2],
      ['directory', 1],
      ['truncated', 2],
      ['glob', 1],
    ] as const) {
      const { fault, runtimes } = await readContainerdConfig(host, `/c/${name}.toml`, { release: '1.7.34' });
      assert.equal(fault?.file, `/c/${name}.toml`);
      assert.equal(fault.line, line, name);
      assert.equal(runtimes.size, 0);
    }
  });

  it('throws where it cannot look: a file too large, and files without end', async (t) => {
    const host = await tempHost(t, { [ROOT]: 'imports = ["*.toml"]\n' });
    const big = await tempHost(t, { [ROOT]: `# ${'x'.repeat(2 ** 20)}` });
    const many = Object.fromEntries(
      Array.from({ length: 101 }, (_, index) => [`/c/${index}.toml`, `imports = ["${index + 1}.toml"]\n`]),
    );
    await assert.rejects(
      readContainerdConfig(big, ROOT),
      /"\/etc\/containerd\/config.toml": it is larger than/,
    );
    await assert.rejects(readContainerdConfig(await tempHost(t, many), '/c/0.toml'), /more than 100 files/);
    await assert.rejects(
      readContainerdConfig(host, ROOT, { signal: AbortSignal.abort(new Error('stop')) }),
      /stop/,
    );
  });
});

describe('resolveConfig', () => {
  const table = fc.constantFrom(V1, V2, V3, 'plugins.io.containerd.cri', V3.replace(/s$/, ''), 'plugins.x');
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

  it('grants no handler that no file names, and loses no mention without a word', () => {
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), rules, (texts, chosen) => {
        const files = texts.map((content, index) => parseContainerdFile(content, `/${index}`));
        const config = resolveConfig(files, { rules: chosen });
        for (const [name, runtime] of config.runtimes) {
          if (name === 'runc' && runtime.file === undefined) continue;
          assert.ok(
            texts.some((content) => content.includes(name)),
            name,
          );
          assert.ok(runtime.file !== undefined && (runtime.line ?? 0) > 0);
        }
        for (const name of ['runsc', 'kata']) {
          const isNamed = texts.some(
            (content) => content.includes(`.${name}]`) && /runtimes?\.|runtime_type/.test(content),
          );
          const isSeen =
            config.runtimes.has(name) || config.ignored.some((mention) => mention.handler === name);
          const isPlain = !texts.some(
            (content) => content.includes(`plugins.x.${name}]`) || content.includes(`cri.${name}]`),
          );
          if (isNamed && isPlain && !config.fault) assert.ok(isSeen, `${name} in ${JSON.stringify(texts)}`);
        }
      }),
    );
  });

  it('ends with an answer or a fault for any text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'[]"=.\n1{} pluginscrimtv'), maxLength: 200 }),
        rules,
        (content, chosen) => {
          try {
            resolveConfig([parseContainerdFile(content, '/x')], { rules: chosen });
          } catch (error) {
            assert.ok(error instanceof TomlFault, String(error));
          }
        },
      ),
    );
  });
});
