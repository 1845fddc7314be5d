/** The directory of the definition file that is being loaded, which only whoever loads it knows. */

let current: string | undefined;

/** Says so while `load` runs. Definitions are loaded one after the other. */
export async function inRecipeDirectory<T>(directory: string, load: () => Promise<T>): Promise<T> {
  const before = current;
  current = directory;
  try {
    return await load();
  } finally {
    current = before;
  }
}

/** Absolute; undefined where a program makes images itself. */
export function recipeDirectory(): string | undefined {
  return current;
}
