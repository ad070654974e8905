import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installAdvice, missingPrerequisites } from '../../../cluster/tools/prerequisites.ts';

const SECCOMP = '/usr/include/seccomp.h';
const EVERYTHING = ['ip', 'nsenter', 'unshare', 'setpriv', 'mount', 'gcc', 'pkg-config', SECCOMP];
const KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg';
const IMAGE_BUILDER = 'an image builder (docker or podman that works, or buildah with mmdebstrap)';

for (const [what, found, purposes, expected] of [
  ['nothing on a complete host', ['buildah', 'mmdebstrap', KEYS], [], []],
  ["Debian's keys for buildah, as on Ubuntu", ['buildah', 'mmdebstrap'], [], [IMAGE_BUILDER]],
  ['nothing with docker and its socket', ['docker', '/var/run/docker.sock'], [], []],
  ['an image builder with docker alone', ['docker'], [], [IMAGE_BUILDER]],
  [
    'the browser that the tests start, and no other',
    ['podman', 'google-chrome', 'curl', 'bzip2', 'jq', 'openssl', 'python3', 'ipset'],
    ['tests', 'browsers'],
    ['iptables', 'chromium'],
  ],
] as const)
  test(`requires ${what}`, () => {
    const all: readonly string[] = [...EVERYTHING, ...found];
    const missing = missingPrerequisites((name) => all.includes(name), purposes);
    assert.deepEqual(
      missing.map((each) => each.what),
      expected,
    );
  });

test('names everything missing, and each Debian package once', () => {
  const found = ['ip', 'setpriv', 'mount', 'gcc', 'pkg-config', 'buildah'];
  const missing = missingPrerequisites((name) => found.includes(name));
  assert.equal(
    installAdvice(missing, true),
    `This machine lacks nsenter, unshare, the headers of libseccomp, ${IMAGE_BUILDER}: run \`sudo apt-get install --no-install-recommends buildah debian-archive-keyring gpg libseccomp-dev mmdebstrap util-linux\`.`,
  );
  assert.match(installAdvice(missing, false), /^This machine lacks nsenter, .*: install what brings them/);
});
