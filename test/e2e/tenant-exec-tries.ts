import assert from 'node:assert/strict';
import { processesIn } from '../../cluster/machine/machine.ts';
import { as, behind, FOREVER, type Try } from './tenant-try.ts';

/** What an agent may read of a host, as files of the tenant's own at the same places in its pod. */
const FILES = `
set -e
mkdir -p /etc/containerd /run/containerd /usr/local/bin/gvisor-bin
printf 'version = 3\\n' >/etc/containerd/config.toml
printf '[runsc_config]\\n  network = "host"\\n' >/etc/containerd/runsc.toml
mkfifo /run/containerd/containerd.sock
for name in runsc containerd-shim-runsc-v1 gvisor-bin/gvisor_sentry; do
  printf '#!/bin/sh\\necho runsc version pwned-uid0\\n' >/usr/local/bin/$name
  chmod 755 /usr/local/bin/$name
done
printf 'release-20990101.0' >/usr/local/bin/gvisor-bin/version
echo 'files: written'
`;
/** Ten processes that look like a weakened sentry; ends once they do. */
const TEN_SENTRIES = `
cp /bin/sh /tmp/runsc-sandbox
cd /tmp
PATH=.:$PATH
for n in $(seq 10); do runsc-sandbox -c '${FOREVER}' --network=host boot </dev/null >/dev/null 2>&1 & done
SENTRIES=0
until [ $SENTRIES = 10 ]; do
  SENTRIES=0
  for FILE in /proc/[0-9]*/cmdline; do
    case "$(tr '\\0' ' ' <$FILE)" in 'runsc-sandbox '*) SENTRIES=$((SENTRIES+1)) ;; esac
  done
done
echo "sentries: $SENTRIES"
`;

/** The tries of a tenant that execs into its own pods while they run. */
export const EXEC_TRIES: readonly Try[] = [
  {
    what: 'a program that it starts by exec and that looks like a weakened sentry',
    before: 'held',
    pods: [{ script: FOREVER, exec: behind(as('runsc-sandbox', '--network=host --host-uds=all boot')) }],
    took: async ({ node }) =>
      assert.ok(
        processesIn(node.machine).some(
          ({ argv }) =>
            argv[0] === 'runsc-sandbox' && argv.includes(FOREVER) && argv.includes('--network=host'),
        ),
        'no process of the node looks like a weakened sentry',
      ),
  },
  {
    what: "ten programs that it starts by exec in its gVisor pod, under the name of gVisor's",
    before: 'nobody looked',
    pods: [{ gvisor: true, script: FOREVER, exec: TEN_SENTRIES }],
    took: async ({ said }) => assert.match(said, /^sentries: 10$/m),
  },
  {
    what: 'files that it writes by exec under its own root, at the places where a host has its own',
    before: 'nobody looked',
    pods: [{ script: FOREVER, exec: FILES }],
    took: async ({ said }) => assert.match(said, /^files: written$/m),
  },
];
