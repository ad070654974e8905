import { NODES, useInstallerNodes } from '../e2e/installer-nodes.ts';
import { tellInstaller } from '../e2e/installer-story.ts';

tellInstaller(NODES[1], useInstallerNodes('installer-17', [NODES[1]]));
