import { LOG_GROUP } from './admission-audit-cases.ts';
import type { Group } from './admission-case.ts';
import { CLASS_GROUPS } from './admission-class-cases.ts';
import { COMPATIBILITY_GROUP } from './admission-compatibility-cases.ts';
import { NAMESPACE_GROUPS } from './admission-namespace-cases.ts';
import { MIRROR_GROUPS, POD_GROUPS } from './admission-pod-cases.ts';
import { POD_CLASS_GROUP } from './admission-pod-class-cases.ts';
import { SETTING_GROUPS } from './admission-setting-cases.ts';
import { TEMPLATE_GROUPS } from './admission-template-cases.ts';
import { WRITE_GROUPS } from './admission-write-cases.ts';

/** Cases for `enforce` without other components. */
export const ENFORCE_GROUPS: readonly Group[] = [
  ...POD_GROUPS,
  ...WRITE_GROUPS,
  ...MIRROR_GROUPS,
  ...TEMPLATE_GROUPS,
  ...NAMESPACE_GROUPS,
  ...CLASS_GROUPS,
  POD_CLASS_GROUP,
  LOG_GROUP,
  COMPATIBILITY_GROUP,
  ...SETTING_GROUPS,
];
