import { NODES, useInstallerNodes } from '../e2e/installer-nodes.ts';
import { tellInstaller } from './installer-story.ts';

const cluster = useInstallerNodes('installer', NODES);
for (const node of NODES) tellInstaller(node, cluster);
