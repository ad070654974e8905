type FieldType = string | { readonly type: string; readonly rule?: 'repeated'; readonly keyType?: string };

/** A message of a protobuf descriptor in JSON: its fields by name, each with its number. */
export function message(fields: Readonly<Record<string, readonly [id: number, type: FieldType]>>) {
  const entries = Object.entries(fields).map(([name, [id, type]]) => [
    name,
    typeof type === 'string' ? { id, type } : { id, ...type },
  ]);
  return { fields: Object.fromEntries(entries) };
}

/** A service whose methods take a `<name>Request` and answer a `<name>Response`; `others` are told in full. */
export function service(methods: readonly string[], others: Readonly<Record<string, object>> = {}) {
  const entries = methods.map((name) => [
    name,
    { requestType: `${name}Request`, responseType: `${name}Response` },
  ]);
  return { methods: { ...Object.fromEntries(entries), ...others } };
}

/** A list of that type. */
export const repeated = (type: string): FieldType => ({ type, rule: 'repeated' });
/** A map from strings to that type. */
export const map = (type: string): FieldType => ({ type, keyType: 'string' });
