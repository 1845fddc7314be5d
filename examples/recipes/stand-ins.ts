/**
 * The recipes name giant packages and other people's servers, as one does. Whoever wants to build all of them in minutes and
 * without those servers sets `RECIPES_SMALL=1` and `RECIPES_HOST=http://…`: `test/real-life/recipes.test.ts` does.
 */

/** What the recipe is about, or something small of the same kind. */
export function giant<T>(real: T, standIn: T): T {
  return process.env.RECIPES_SMALL === '1' ? standIn : real;
}

/** `example.com/model.bin` at its real place, or on the server of whoever builds; `user` goes in front of the host. */
export function hosted(path: string, user = ''): string {
  const [scheme = '', host = ''] = (process.env.RECIPES_HOST ?? 'https://').split('://');
  return `${scheme}://${user === '' ? '' : `${user}@`}${host === '' ? '' : `${host}/`}${path}`;
}
