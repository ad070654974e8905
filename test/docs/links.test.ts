import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, it } from 'node:test';
import { REPO } from '../../hack/paths.ts';

/** Every Markdown file of the repository, untracked ones included. */
const FILES = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: REPO,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(REPO, file)));

/** A broken link with the reason. Links to the web are not checked. */
type Broken = { readonly link: string; readonly why: string };

/** The text without code blocks, which contain no links or headings. */
function prose(text: string): string {
  return text.replace(/^(`{3,}|~{3,})[^\n]*\n[\s\S]*?^\1[^\n]*$/gm, '');
}

/** The anchors that GitHub gives the headings of a file. https://github.com/gjtorikian/html-pipeline */
function anchorsOf(text: string): ReadonlySet<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  for (const [, heading = ''] of prose(text).matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const slug = words.replace(/[^\p{L}\p{N}\p{M} _-]/gu, '').replaceAll(' ', '-');
    const before = seen.get(slug) ?? 0;
    seen.set(slug, before + 1);
    anchors.add(before === 0 ? slug : `${slug}-${before}`);
  }
  return anchors;
}

/** The broken links of one file. `read` returns a file's text by its path in the repository. */
function brokenLinks(
  file: string,
  text: string,
  read: (path: string) => string | undefined | 'directory',
): Broken[] {
  const broken: Broken[] = [];
  const plain = prose(text).replace(/(`+)[^`]*?\1/g, '');
  for (const [, link = ''] of plain.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)) {
    if (/^[a-z][a-z0-9+.-]*:/i.test(link)) continue;
    const [path = '', anchor] = decodeURIComponent(link).split('#');
    const target =
      path === ''
        ? file
        : normalize(join(path.startsWith('/') ? '' : dirname(file), path)).replace(/^\/|\/$/g, '');
    const found = target === file ? text : read(target);
    if (found === undefined) broken.push({ link, why: `there is no "${target}"` });
    else if (anchor !== undefined && !(found !== 'directory' && anchorsOf(found).has(anchor)))
      broken.push({ link, why: `"${target}" has no heading "#${anchor}"` });
  }
  return broken;
}

function readFromRepo(path: string): string | undefined | 'directory' {
  if (path.startsWith('..') || !existsSync(join(REPO, path))) return undefined;
  try {
    return readFileSync(join(REPO, path), 'utf8');
  } catch {
    return 'directory';
  }
}

/** Paths of the repository that a document names as code, without those that contain a placeholder. */
function pathsIn(text: string): string[] {
  const paths = prose(text).matchAll(
    /`((?:agent|charts|cluster|controller|dispatcher|docs|hack|installer|kubectl|lib|manifests|test)\/[\w./*-]+)`/g,
  );
  return [...paths].map(([, path = '']) => path).filter((path) => !/NAME|COMPONENT/.test(path));
}

describe('links in the documentation', () => {
  for (const file of FILES) {
    it(`${file} has no broken link`, () => {
      assert.deepEqual(brokenLinks(file, readFileSync(join(REPO, file), 'utf8'), readFromRepo), []);
    });

    it(`${file} names only paths that exist`, () => {
      const missing = pathsIn(readFileSync(join(REPO, file), 'utf8')).filter(
        (path) => globSync(path, { cwd: REPO }).length === 0,
      );
      assert.deepEqual(missing, []);
    });
  }

  it('in the output of the kubectl plugin are not broken', () => {
    const sources = globSync('kubectl/**/*.{ts,json}', { cwd: REPO }).map((file) =>
      readFileSync(join(REPO, file), 'utf8'),
    );
    const pages = sources.join().match(/(docs\/|README)[\w./-]*\.md(#[\w-]+)?/g) ?? [];
    assert.ok(pages.length > 10);
    assert.deepEqual(
      brokenLinks('kubectl', pages.map((page) => `[a](/${page})`).join('\n'), readFromRepo),
      [],
    );
  });

  it('are reported as broken where file or heading is missing', () => {
    assert.ok(FILES.includes('README.md') && FILES.length >= 8, FILES.join(', '));
    const text = [
      '# One `two`, three\n# One two three',
      '[a](#one-two-three) [b](#one-two-three-1) [c](#four) [d](other.md) ![e](gone.png)',
      '[f](other.md#there) [g](other.md#gone) [h](https://example.org/x) [i](up/) `[j](gone)`',
      '```\n[k](gone)\n```\n[l](../outside.md "title")',
    ].join('\n\n');
    const files: Record<string, string> = { 'docs/other.md': '## There', 'docs/up': 'directory' };
    assert.deepEqual(
      brokenLinks('docs/file.md', text, (path) => files[path]).map(({ link }) => link),
      ['#four', 'gone.png', 'other.md#gone', '../outside.md'],
    );
  });
});
