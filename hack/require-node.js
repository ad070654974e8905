// Loads tsx for `npm run`. JavaScript, so that a Node that is too old says so in one line.
const MINIMUM = 24;

if (Number.parseInt(process.versions.node, 10) < MINIMUM) {
  console.error(
    `Node ${process.versions.node} is too old: install Node ${MINIMUM} or newer. On Linux \`npm ci\` brings it.`,
  );
  process.exit(2);
}
await import('tsx');
