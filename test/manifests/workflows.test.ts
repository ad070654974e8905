import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parse } from 'yaml';
import { ensureTools } from '../../cluster/tools/tools.ts';
import { REPO } from '../../hack/paths.ts';
import { ensurePython } from '../../hack/python.ts';
import { patient, runAll } from '../../hack/run.ts';

const NAMES = ['as-root.yaml', 'check.yaml', 'nightly.yaml', 'release.yaml', 'security.yaml'] as const;
const USES = /uses: (\S+)@(\S+)(?: # (\S+))?$/gm;

type Workflow = {
  readonly jobs: Readonly<
    Record<string, { readonly env?: Readonly<Record<string, string>>; readonly steps?: readonly Step[] }>
  >;
};
type Step = { readonly uses?: string; readonly with?: Readonly<Record<string, string>> };

const read = (name: string) => readFileSync(join(REPO, '.github/workflows', name), 'utf8');

/** Names each action by its major version, for which actionlint knows the inputs of many. */
const byMajor = (text: string) =>
  text.replace(USES, (_, action, _commit, version) => `uses: ${action}@${version.split('.')[0]}`);

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'workflows-'));
  await mkdir(join(directory, '.git')); // makes it a project, in which actionlint follows local workflows
  await cp(join(REPO, '.github/workflows'), join(directory, '.github/workflows'), { recursive: true });
});
after(() => rm(directory, { recursive: true }));

/** Lints a workflow and its shell; returns what actionlint prints. */
async function lint(name: string, text: string): Promise<string> {
  const { actionlint } = await ensureTools(['actionlint']);
  const path = join('.github/workflows', name);
  await writeFile(join(directory, path), text);
  const shellcheck = join(await ensurePython(), '../shellcheck');
  const args = ['-oneline', '-shellcheck', shellcheck, path];
  const { stdout, stderr } = await runAll(join(actionlint, 'actionlint'), args, { cwd: directory });
  return `${stdout}${stderr}`;
}

describe('actionlint', { timeout: patient(300_000) }, () => {
  for (const name of NAMES) {
    it(`passes ${name}, also with actions by version`, async () => {
      assert.equal(await lint(name, read(name)), '');
      assert.equal(await lint(name, byMajor(read(name))), '');
    });
  }
});

describe('the workflows', () => {
  const release = parse(read('release.yaml')) as Workflow;
  const steps = Object.values(release.jobs).flatMap((job) => job.steps ?? []);
  const inputs = (action: string) =>
    steps.filter(({ uses }) => uses?.startsWith(`${action}@`)).map((step) => step.with);

  it('pin each action by one commit, beside its version', () => {
    const pins = NAMES.flatMap((name) => [...read(name).matchAll(USES)]);
    for (const [line, , commit, version] of pins) {
      assert.match(commit ?? '', /^[0-9a-f]{40}$/, line);
      assert.match(version ?? '', /^v\d+\.\d+\.\d+$/, line);
    }
    const distinct = new Set(pins.map(([line]) => line));
    assert.equal(distinct.size, new Set(pins.map(([, action]) => action)).size);
    const uses = NAMES.flatMap((name) => read(name).match(/uses: (?!\.)/g) ?? []);
    assert.equal(pins.length, uses.length);
  });

  it('pin Go by one whole version, which directories of programs are named after', () => {
    const texts = NAMES.map(read).join('');
    const versions = [...texts.matchAll(/^ +(?:GO|go-version): "(.*)"$/gm)].map(([, version]) => version);
    assert.match([...new Set(versions)].join(' '), /^\d+\.\d+\.\d+$/);
  });

  it('verify the identity of the release workflow under its own file name', () => {
    assert.equal(
      release.jobs.verify?.env?.IDENTITY,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: an expression of the workflow
      'https://github.com/${{ github.repository }}/.github/workflows/release.yaml@${{ github.ref }}',
    );
  });

  it('publish the files that `npm run release` writes, through one artifact', () => {
    const [upload, ...others] = inputs('actions/upload-artifact');
    assert.deepEqual(others, []);
    assert.equal(upload?.path, 'dist/release');
    assert.deepEqual(inputs('actions/download-artifact'), [{ name: upload?.name }]);
  });
});
