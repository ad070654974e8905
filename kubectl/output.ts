import { dumpYaml } from '@kubernetes/client-node';

/** How results are shown; a table or text unless told. */
export type Format = 'wide' | 'json' | 'yaml';

/** A value as JSON or YAML for programs. */
export function serialize(value: unknown, format: 'json' | 'yaml'): string {
  const text = JSON.stringify(value, null, 2);
  return format === 'json' ? `${text}\n` : dumpYaml(JSON.parse(text));
}

/** Whether a format is for programs. */
export function isForPrograms(format: Format | undefined): format is 'json' | 'yaml' {
  return format === 'json' || format === 'yaml';
}
