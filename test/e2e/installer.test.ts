import { NODES, useInstallerNodes } from './installer-nodes.ts';
import { tellInstaller } from './installer-story.ts';

tellInstaller(NODES[0], useInstallerNodes('installer'));
