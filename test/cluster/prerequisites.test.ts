import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installAdvice, missingPrerequisites } from '../../cluster/prerequisites.ts';

const EVERYTHING = ['ip', 'nsenter', 'unshare', 'setpriv', 'mount', 'gcc', 'pkg-config'];
const FOR_TESTS = ['curl', 'bzip2', 'python3', 'iptables', 'ipset'];

function host(programs: readonly string[], files: readonly string[] = ['/usr/include/seccomp.h']) {
  return { program: (name: string) => programs.includes(name), file: (path: string) => files.includes(path) };
}

test('finds nothing missing on a complete host', () => {
  assert.deepEqual(missingPrerequisites(host([...EVERYTHING, 'buildah', 'mmdebstrap'])), []);
  assert.deepEqual(
    missingPrerequisites(host([...EVERYTHING, 'podman', ...FOR_TESTS]), {
      forTests: true,
    }),
    [],
  );
});

test('accepts docker only with the socket of its daemon', () => {
  const socket = ['/usr/include/seccomp.h', '/var/run/docker.sock'];
  assert.deepEqual(missingPrerequisites(host([...EVERYTHING, 'docker'], socket)), []);
  assert.equal(missingPrerequisites(host([...EVERYTHING, 'docker'])).length, 1);
});

test('requires more for tests than for clusters', () => {
  const bare = host([...EVERYTHING, 'podman']);
  assert.deepEqual(
    missingPrerequisites(bare, { forTests: true }).map((one) => one.what),
    FOR_TESTS,
  );
});

test('requires the browser that the tests start, and accepts no other', () => {
  const chrome = host([...EVERYTHING, 'podman', 'google-chrome']);
  assert.deepEqual(
    missingPrerequisites(chrome, { forBrowsers: true }).map((one) => one.what),
    ['chromium'],
  );
});

test('requires qemu and disk tools for virtual machines', () => {
  const bare = host([...EVERYTHING, 'podman']);
  assert.deepEqual(
    missingPrerequisites(bare, { forVms: true }).map((one) => one.what),
    ['qemu-system-x86_64', 'qemu-img', 'mkfs.ext4', 'mmdebstrap', 'ssh'],
  );
});

test('names everything missing, and each Debian package once', () => {
  const missing = missingPrerequisites(host(['ip', 'setpriv', 'mount', 'gcc', 'pkg-config', 'buildah'], []));
  assert.equal(
    installAdvice(missing, true),
    'This machine lacks nsenter, unshare, the headers of libseccomp, an image builder (docker or podman that works, or buildah with mmdebstrap): run `sudo apt-get install --no-install-recommends buildah libseccomp-dev mmdebstrap util-linux`.',
  );
  assert.match(installAdvice(missing, false), /^This machine lacks nsenter, .*: install what brings them/);
});
