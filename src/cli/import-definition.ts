/** Runs the module of a definition; what goes wrong is told with the user's own line. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { type DefinitionError, TsbuildError } from '../errors.ts';
import { failed } from './definition-failed.ts';
import { excerpt, placeOf, type SourcePlace } from './source-excerpt.ts';

const OWN_INDEX = new URL(import.meta.url.endsWith('.ts') ? '../index.ts' : '../index.js', import.meta.url)
  .href;
const TYPESCRIPT_FILE = /^file:.*\.m?ts$/;

/**
 * Waits for what the definition does: its module and the functions that it exports. Also ended by what the definition
 * lets go unseen: a rejection that nobody handles, and a promise that nothing settles any more, with which Node would
 * end as if all were well.
 *
 * @throws {DefinitionError} `E_DEFINITION_LOAD` @throws {TsbuildError} what the definition's own calls threw.
 */
export async function whileDefinitionRuns<T>(
  shown: string,
  signal: AbortSignal | undefined,
  action: () => Promise<T>,
): Promise<T> {
  const stopped = Promise.withResolvers<never>();
  const onRejection = (reason: unknown) => stopped.reject(reason);
  const onIdle = () =>
    stopped.reject(failed(`'${shown}' never ends: it waits for a promise that nothing settles`, undefined));
  const onAbort = () => stopped.reject(signal?.reason);
  process.on('unhandledRejection', onRejection);
  process.on('beforeExit', onIdle);
  signal?.addEventListener('abort', onAbort);
  const loads = followLoads();
  try {
    return await Promise.race([action(), stopped.promise]);
  } catch (error) {
    if (error instanceof TsbuildError || (signal?.aborted === true && error === signal.reason)) {
      throw error;
    }
    throw await describeFailure(error, shown, loads);
  } finally {
    loads.stop();
    process.off('unhandledRejection', onRejection);
    process.off('beforeExit', onIdle);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** To be called in {@link whileDefinitionRuns}. */
export async function importModule(
  path: string,
  ownIndex: string = OWN_INDEX,
): Promise<Readonly<Record<string, unknown>>> {
  hookOwnPackage(ownIndex);
  if (path.endsWith('.cts')) {
    // Node 22 cannot require a module from CommonJS in TypeScript unless it was loaded before.
    await import(ownIndex);
  }
  return await import(pathToFileURL(path).href);
}

let ownPackageHooked = false;

/**
 * `import … from 'tsbuild'` means this very tsbuild, wherever the definition lies: a single file works without an
 * installation beside it, and there is one Image class, by which images are recognised. Stays for the life of the
 * process, because a definition may import lazily.
 */
function hookOwnPackage(ownIndex: string): void {
  if (ownPackageHooked) {
    return;
  }
  ownPackageHooked = true;
  registerHooks({
    resolve: (specifier, context, nextResolve) =>
      specifier === 'tsbuild' ? { url: ownIndex, shortCircuit: true } : nextResolve(specifier, context),
  });
}

interface Loads {
  /** The module that was read last: when one cannot be compiled, it is that one. */
  last(): string | undefined;
  /** The import that led nowhere. */
  missing(): { readonly specifier: string; readonly parentUrl: string } | undefined;
  stop(): void;
}

/**
 * Watches what is loaded. TypeScript files are modules here even where a package.json above them says CommonJS: a
 * definition lies in all kinds of projects.
 */
function followLoads(): Loads {
  let last: string | undefined;
  let missing: ReturnType<Loads['missing']>;
  const hooks = registerHooks({
    resolve: (specifier, context, nextResolve) => {
      try {
        return nextResolve(specifier, context);
      } catch (error) {
        if (context.parentURL !== undefined) {
          missing = { specifier, parentUrl: context.parentURL };
        }
        throw error;
      }
    },
    load: (url, context, nextLoad) => {
      last = url;
      return TYPESCRIPT_FILE.test(url) && !url.includes('/node_modules/')
        ? nextLoad(url, { ...context, format: 'module-typescript' })
        : nextLoad(url, context);
    },
  });
  return { last: () => last, missing: () => missing, stop: () => hooks.deregister() };
}

async function describeFailure(error: unknown, shown: string, loads: Loads): Promise<DefinitionError> {
  if (!(error instanceof Error)) {
    return failed(`'${shown}' threw ${String(error).slice(0, 200)}`, error);
  }
  const code = 'code' in error ? String(error.code) : '';
  if (error instanceof SyntaxError) {
    // Node puts the place in front of the stack for TypeScript, and nowhere for JavaScript: ask `node --check` then.
    const place = /^(?!SyntaxError)([\s\S]*?)\n\s*SyntaxError/.exec(error.stack ?? '')?.[1];
    const found = place ?? (await syntaxCheck(loads.last()));
    const hint =
      code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX'
        ? 'Node only removes types: write a union of strings for an enum, and plain fields for parameter properties'
        : undefined;
    return failed(`cannot load '${shown}': ${error.message}${indented(found)}`, error, hint);
  }
  const place = code === 'ERR_MODULE_NOT_FOUND' ? placeOfImport(loads.missing()) : placeOf(error);
  const shownPlace = place === undefined ? undefined : excerpt(place);
  const hint =
    code === 'ERR_MODULE_NOT_FOUND' ? 'install what it imports beside it, or mend the path' : undefined;
  const message =
    error.name === 'Error' || error.message.startsWith(error.name)
      ? error.message
      : `${error.name}: ${error.message}`;
  return failed(
    `cannot load '${shown}': ${message}${shownPlace === undefined ? '' : `\n${shownPlace}`}`,
    error,
    hint,
  );
}

/** The line that names what cannot be found: Node says only in which file it is. */
function placeOfImport(missing: ReturnType<Loads['missing']>): SourcePlace | undefined {
  if (missing === undefined || !missing.parentUrl.startsWith('file:')) {
    return undefined;
  }
  const path = fileURLToPath(missing.parentUrl);
  for (const [index, line] of readFileSync(path, 'utf8').split('\n').entries()) {
    const quoted = [`'${missing.specifier}'`, `"${missing.specifier}"`];
    const column = Math.max(...quoted.map((each) => line.indexOf(each)));
    if (column >= 0) {
      return { path, line: index + 1, column: column + 1 };
    }
  }
  return undefined;
}

async function syntaxCheck(url: string | undefined): Promise<string | undefined> {
  if (url === undefined || !url.startsWith('file:')) {
    return undefined;
  }
  try {
    await promisify(execFile)(process.execPath, ['--check', fileURLToPath(url)]);
  } catch (error) {
    const text = String((error as { stderr?: unknown }).stderr ?? '');
    return /^([\s\S]*?)\n\s*SyntaxError/.exec(text)?.[1];
  }
  return undefined;
}

function indented(text: string | undefined): string {
  if (text === undefined || text.trim() === '') {
    return '';
  }
  return `\n${text
    .trimEnd()
    .split('\n')
    .map((line) => `  ${line.replace(/^file:\/\/(?=\/)/, '')}`)
    .join('\n')}`;
}
