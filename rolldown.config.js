import { fileURLToPath } from 'node:url';
import { lazyBuiltins } from './scripts/lazy-builtins.js';
import { staticImports } from './scripts/static-imports.js';

const sources = (...names) => staticImports(names.map((name) => fileURLToPath(new URL(`src/${name}`, import.meta.url))));
const engine = sources('index.ts', 'cli/engine-module.ts');
const build = sources('cli/main.ts', 'cli/commands/build.ts');
const shared = engine.intersection(sources('worker/main.ts').union(build));

/** What both the command line, or the worker, and the engine are made of; and what stands for Node's own modules. */
const BASE = {
  name: 'base',
  priority: 3,
  test: (id) =>
    shared.has(id) ||
    /^\0(builtin:node:(?!tls|sqlite)|rolldown\/runtime)/.test(id) ||
    /src\/(errors|settings|(base|native|oci|secret)\/[^/]+|frontend\/fluent\/(arguments|gpu-request|image-name|options|recipe-directory)|executor\/cdi(-spec)?)\.ts$/.test(id),
};

/** Everything that loads with the library. */
const ENGINE = { name: 'engine', priority: 2, test: (id) => engine.has(id) };

/** What `build` needs before the engine is loaded, and most of it every command. Nothing of it may be in the library. */
const COMMAND = {
  name: 'command',
  priority: 1,
  test: (id) =>
    build.has(id) ||
    /src\/cli\/(command|exit-status|load-definition|option|output-option|quantity|render-error|session|shared-options|source-excerpt|terminal-text|progress\/(open|plain|held-output))\.ts$/.test(id),
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
    // A build loads five files instead of 13: a module costs more than the code in it.
    codeSplitting: { groups: [BASE, ENGINE, COMMAND] },
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
