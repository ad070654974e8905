import { tellHandlers } from './installer-handlers-story.ts';
import { NODES, useInstallerNodes } from './installer-nodes.ts';

tellHandlers(NODES[0], useInstallerNodes('installer-handlers'));
