/** By name: compilers of different versions order what they write differently, and generated modules should not. */
export const sorted = <T extends { readonly name: string }>(items: readonly T[]): T[] =>
  [...items].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
