/**
 * The compiled package: few files instead of some 300, since finding and linking modules is most of what a build of which
 * everything is known takes (ADR 12). Chunks lie as deep as the sources, so that paths relative to a module stay right.
 */
const compiled = {
  input: { 'cli/main': 'src/cli/main.ts', index: 'src/index.ts', 'worker/main': 'src/worker/main.ts' },
  platform: 'node',
  // The oldest Node that package.json allows knows no `using`.
  transform: { target: 'node22.18' },
  external: [/^node:/, /^(?!@oxc-project\/runtime)[a-z@][^:]*$/],
  output: {
    dir: 'dist',
    format: 'esm',
    cleanDir: false,
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name]-[hash].js',
  },
};

/** What `tsbuild` means in the containers of functions: one file that imports nothing but Node (ADR 14). */
const recipe = {
  input: { recipe: 'src/recipe.ts' },
  platform: 'node',
  external: [/^node:/],
  output: {
    dir: 'dist',
    format: 'esm',
    cleanDir: false,
    entryFileNames: '[name].js',
    codeSplitting: false,
  },
};

export default [compiled, recipe];
