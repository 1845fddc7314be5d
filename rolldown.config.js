import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { lazyBuiltins } from './scripts/lazy-builtins.js';
import { staticImports } from './scripts/static-imports.js';

const sources = (...names) =>
  staticImports(names.map((name) => fileURLToPath(new URL(`src/${name}`, import.meta.url))));
const engine = sources('index.ts', 'cli/engine-module.ts');
const build = sources('cli/main.ts', 'cli/commands/build.ts');
const shared = engine.intersection(sources('worker/main.ts').union(build));

/** One character that is none makes a text twice as long in memory, and V8 takes twice as long to read it. */
const inAscii = {
  name: 'in-ascii',
  // Not when chunks are rendered: comments are taken out after that, and characters put back.
  generateBundle(_options, bundle) {
    for (const chunk of Object.values(bundle)) {
      if (chunk.type === 'chunk') {
        const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
        chunk.code = chunk.code.replace(/[\u0080-\uffff]/g, escaped);
      }
    }
  },
};

/** In the place of `import-definition.ts`. */
const definitionsElsewhere = {
  name: 'definitions-elsewhere',
  resolveId: (id) => (id.endsWith('/import-definition.ts') ? `\0${id}` : null),
  load: (id) =>
    id.startsWith('\0') && id.endsWith('/import-definition.ts')
      ? `import { Elsewhere } from '${new URL('src/cli/elsewhere.ts', import.meta.url).pathname}';
         export const importModule = () => { throw new Elsewhere(); };
         export const whileDefinitionRuns = importModule;`
      : null,
};

/** What the bundler takes into a script it loads at its top, though sources that need it are loaded when they are needed. */
const lazyTar = {
  name: 'lazy-tar',
  resolveId: (id) => (id === 'tar-stream' ? '\0tar-stream' : null),
  load: (id) =>
    id === '\0tar-stream'
      ? `const load = () => process.getBuiltinModule('node:module').createRequire(import.meta.url)('tar-stream');
         export default { extract: (...args) => load().extract(...args), pack: (...args) => load().pack(...args) };`
      : null,
};

/** The first line of a script names it, so that what is remembered of another is not taken for it. */
const named = {
  name: 'named',
  generateBundle(_options, bundle) {
    for (const chunk of Object.values(bundle)) {
      chunk.code = `// ${createHash('sha256').update(chunk.code).digest('hex')}\n${chunk.code}`;
    }
  },
};

/** What both the command line, or the worker, and the engine are made of; and what stands for Node's own modules. */
const BASE = {
  name: 'base',
  priority: 3,
  test: (id) =>
    shared.has(id) ||
    /^\0(builtin:node:|rolldown.runtime)/.test(id) ||
    /src\/(errors|settings|(base|native|oci|secret)\/[^/]+|frontend\/fluent\/(arguments|gpu-request|image-name|options|recipe-directory)|executor\/cdi(-spec)?)\.ts$/.test(
      id,
    ),
};

/** Everything that loads with the library. */
const ENGINE = { name: 'engine', priority: 2, test: (id) => engine.has(id) && !id.includes('/src/cli/') };

/** What `build` needs before the engine is loaded, and most of it every command. Nothing of it may be in the library. */
const COMMAND = {
  name: 'command',
  priority: 1,
  test: (id) =>
    build.has(id) ||
    /src\/cli\/(command|exit-status|load-definition|option|output-option|quantity|render-error|session|shared-options|source-excerpt|terminal-text|progress\/(open|plain|held-output))\.ts$/.test(
      id,
    ),
};

/**
 * The compiled package: few files instead of some 300, since finding and linking modules is most of what a build of which
 * everything is known takes (ADR 12). Chunks lie as deep as the sources, so that paths relative to a module stay right.
 */
const compiled = {
  input: { 'cli/main': 'src/cli/main.ts', index: 'src/index.ts' },
  platform: 'node',
  plugins: [lazyBuiltins(), inAscii],
  // The oldest Node that package.json allows knows no `using`.
  transform: { target: 'node22.18' },
  checks: { ineffectiveDynamicImport: false },
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

const always = sources('cli/main.ts', 'cli/commands/build.ts', 'cli/engine-module.ts');

/** Everything that a build of which everything is known loads. */
const ALWAYS = {
  name: 'always',
  test: (id) => always.has(id) || /^\0(builtin:node:|rolldown.runtime)/.test(id),
};

/**
 * The command line once more as scripts, for builds of Dockerfiles: a script can be started from what V8 made of it the last time,
 * with all functions that ran, while of modules Node keeps what it knows before anything ran (ADR 24). What is only sometimes needed is
 * in scripts of its own, since V8 takes in all functions of one, used or not. A definition imports `tsbuild`, and must get the same
 * classes as the command that loads them: that is left to the modules.
 */
const quick = {
  input: { quick: 'src/cli/main.ts' },
  platform: 'node',
  plugins: [lazyBuiltins(), lazyTar, definitionsElsewhere, inAscii, named],
  transform: compiled.transform,
  checks: compiled.checks,
  external: [/^(?!@oxc-project\/runtime|tar-stream$)[a-z@][^:]*$/],
  output: {
    dir: 'dist/quick',
    format: 'cjs',
    cleanDir: false,
    entryFileNames: '[name].cjs',
    chunkFileNames: '[name].cjs',
    comments: { jsdoc: false },
    codeSplitting: { groups: [ALWAYS] },
  },
};

/** The worker, likewise, in one: it shares nothing with the process that starts it but what they say to each other. */
const worker = {
  ...quick,
  input: { 'worker/main': 'src/worker/main.ts' },
  plugins: [lazyBuiltins(), lazyTar, inAscii, named],
  output: { ...quick.output, dir: 'dist', codeSplitting: false },
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

export default [compiled, quick, worker, recipe];
