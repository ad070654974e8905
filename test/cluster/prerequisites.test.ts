import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installAdvice, missingPrerequisites } from '../../cluster/prerequisites.ts';

const EVERYTHING = ['ip', 'nsenter', 'unshare', 'setpriv', 'mount', 'gcc', 'pkg-config'];
const FOR_TESTS = ['curl', 'bzip2', 'python3', 'iptables', 'ipset'];
const SECCOMP = '/usr/include/seccomp.h';
const KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg';
const FOR_VMS = 'qemu-system-x86_64 qemu-img mkfs.ext4 mmdebstrap debian-archive-keyring ssh'.split(' ');
const IMAGE_BUILDER = 'an image builder (docker or podman that works, or buildah with mmdebstrap)';

function host(programs: readonly string[], files: readonly string[] = [SECCOMP]) {
  return { program: (name: string) => programs.includes(name), file: (path: string) => files.includes(path) };
}

for (const [what, programs, options, expected, files] of [
  ['nothing on a complete host', ['buildah', 'mmdebstrap'], {}, [], [SECCOMP, KEYS]],
  ["Debian's keys for buildah, as on Ubuntu", ['buildah', 'mmdebstrap'], {}, [IMAGE_BUILDER]],
  ['nothing on a complete host for tests', ['podman', ...FOR_TESTS], { forTests: true }, []],
  ['nothing with docker and its socket', ['docker'], {}, [], [SECCOMP, '/var/run/docker.sock']],
  ['an image builder with docker alone', ['docker'], {}, [IMAGE_BUILDER]],
  ['more for tests than for clusters', ['podman'], { forTests: true }, FOR_TESTS],
  [
    'the browser that the tests start, and no other',
    ['podman', 'google-chrome'],
    { forBrowsers: true },
    ['chromium'],
  ],
  ['qemu and disk tools for virtual machines', ['podman'], { forVms: true }, FOR_VMS],
] as const)
  test(`requires ${what}`, () => {
    const missing = missingPrerequisites(host([...EVERYTHING, ...programs], files), options);
    const names = missing.map((each) => each.what);
    assert.deepEqual(names, expected);
  });

test('names everything missing, and each Debian package once', () => {
  const missing = missingPrerequisites(host(['ip', 'setpriv', 'mount', 'gcc', 'pkg-config', 'buildah'], []));
  assert.equal(
    installAdvice(missing, true),
    `This machine lacks nsenter, unshare, the headers of libseccomp, ${IMAGE_BUILDER}: run \`sudo apt-get install --no-install-recommends buildah debian-archive-keyring gpg libseccomp-dev mmdebstrap util-linux\`.`,
  );
  assert.match(installAdvice(missing, false), /^This machine lacks nsenter, .*: install what brings them/);
});
