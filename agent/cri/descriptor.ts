type FieldType = string | { readonly type: string; readonly rule?: 'repeated'; readonly keyType?: string };

/** A message of a protobuf descriptor in JSON: its fields by name, each with its number. */
export function message(fields: Readonly<Record<string, readonly [id: number, type: FieldType]>>) {
  const entries = Object.entries(fields).map(([name, [id, type]]) => [
    name,
    typeof type === 'string' ? { id, type } : { id, ...type },
  ]);
  return { fields: Object.fromEntries(entries) };
}

/** The messages of a package with their service: it has a method for each `<method>Request` that has a `<method>Response`. */
export function withService(service: string, messages: Readonly<Record<string, object>>) {
  const names = Object.keys(messages).map((name) => name.replace(/Request$/, ''));
  const methods = names.flatMap((name) => {
    const [requestType, responseType] = [`${name}Request`, `${name}Response`];
    return requestType in messages && responseType in messages ? [[name, { requestType, responseType }]] : [];
  });
  return { ...messages, [service]: { methods: Object.fromEntries(methods) } };
}

/** A list of that type. */
export const repeated = (type: string): FieldType => ({ type, rule: 'repeated' });
/** A map from strings to that type. */
export const map = (type: string): FieldType => ({ type, keyType: 'string' });
