import { describeGroups } from './admission-case.ts';
import { useAdmission } from './admission-cluster.ts';
import { BINDING_GROUPS } from './admission-write-cases.ts';

describeGroups(useAdmission(['enforce', 'enforce-bindings']), BINDING_GROUPS);
