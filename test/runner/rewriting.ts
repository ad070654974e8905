/**
 * Whether the tests rewrite the files that they compare, as a person asks for with this variable. Throws in CI, where each
 * output would be compared with itself.
 */
export function isRewriting(
  variable: 'SCREENS' | 'WRITE_COMPATIBILITY' | 'WRITE_SIZES',
  env = process.env,
): boolean {
  const isAsked = Boolean(env[variable]);
  if (isAsked && env.CI) throw new Error(`${variable} rewrites files that CI only compares: unset it`);
  return isAsked;
}
