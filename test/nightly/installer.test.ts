import { NODES, useInstallerNodes } from '../e2e/installer-nodes.ts';
import { tellInstaller } from './installer-story.ts';

const cluster = useInstallerNodes('installer');
for (const node of NODES) tellInstaller(node, cluster);
