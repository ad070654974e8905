import { NODES, useInstallerNodes } from '../e2e/installer-nodes.ts';
import { tellInstaller } from '../e2e/installer-story.ts';

tellInstaller(NODES[1], useInstallerNodes('installer-1.7', [NODES[1]]));
