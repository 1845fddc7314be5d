/**
 * What `make` gives, made when it is first asked for. For patterns with classes of Unicode: V8 takes up to a millisecond to read one, and
 * there are as many in the program as a build of which everything is known takes for all else.
 */
export function lazily<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
