import { lazyBuiltins } from './scripts/lazy-builtins.js';

/** What both the command line and the engine are made of. */
const BASE = {
  name: 'base',
  priority: 2,
  test: /^\0builtin:node:(?!tls|sqlite)|src\/(errors|settings|(base|native|oci|secret)\/[^/]+|frontend\/fluent\/(arguments|gpu-request|image-name|options|recipe-directory)|executor\/cdi(-spec)?)\.ts$/,
};

/** What every command needs before the engine is loaded. Nothing of it may be in the library: what both have belongs to BASE. */
const COMMAND = {
  name: 'command',
  priority: 1,
  test: /src\/cli\/(command|exit-status|load-definition|option|output-option|quantity|render-error|session|shared-options|source-excerpt|terminal-text|progress\/(open|plain|held-output))\.ts$/,
};

/**
 * The compiled package: few files instead of some 300, since finding and linking modules is most of what a build of which
 * everything is known takes (ADR 12). Chunks lie as deep as the sources, so that paths relative to a module stay right.
 */
const compiled = {
  input: { 'cli/main': 'src/cli/main.ts', index: 'src/index.ts', 'worker/main': 'src/worker/main.ts' },
  platform: 'node',
  plugins: [lazyBuiltins()],
  // The oldest Node that package.json allows knows no `using`.
  transform: { target: 'node22.18' },
  external: [/^(?!@oxc-project\/runtime)[a-z@][^:]*$/],
  output: {
    dir: 'dist',
    format: 'esm',
    cleanDir: false,
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name]-[hash].js',
    // Whoever reads doc comments has them in the declarations; here they are a fifth of what every start reads.
    comments: { jsdoc: false },
    // What every command loads anyway is two files instead of 14: a module costs more than the code in it.
    codeSplitting: { groups: [BASE, COMMAND] },
  },
};

/** What `tsbuild` means in the containers of functions: one file that imports nothing but Node (ADR 15). */
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
