/** What is made anew at most once in so many milliseconds: pods may ask as often as they like, and making takes the loop's time. */
export function keep<T>(make: () => T, freshMs: number): () => T {
  let last: { readonly value: T; readonly madeMs: number } | undefined;
  return () => {
    const nowMs = performance.now();
    if (last === undefined || nowMs - last.madeMs >= freshMs) last = { value: make(), madeMs: nowMs };
    return last.value;
  };
}
