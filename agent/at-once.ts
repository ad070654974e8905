/** Does something for each of many, some of them at a time; the results are in the order of the many. */
export async function mapAtOnce<T, R>(
  many: readonly T[],
  atOnce: number,
  work: (one: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < many.length; at = next++) results[at] = await work(many[at] as T);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, many.length) }, worker));
  return results;
}
