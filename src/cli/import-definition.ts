/** Runs the module of a definition; what goes wrong is told with the user's own line. */
import { execFile } from 'node:child_process';
import { registerHooks } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { DefinitionError, TsbuildError } from '../errors.ts';
import { excerpt, placeOf } from './source-excerpt.ts';

const OWN_INDEX = new URL(import.meta.url.endsWith('.ts') ? '../index.ts' : '../index.js', import.meta.url)
  .href;
const TYPESCRIPT_FILE = /^file:.*\.m?ts$/;

export async function importModule(
  path: string,
  shown: string,
  ownIndex: string = OWN_INDEX,
): Promise<Readonly<Record<string, unknown>>> {
  hookOwnPackage(ownIndex);
  const loads = followLoads();
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    if (error instanceof TsbuildError) {
      throw error;
    }
    throw await describeFailure(error, shown, loads.last());
  } finally {
    loads.stop();
  }
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

/**
 * Remembers which module was read last: when a module cannot be compiled, it is that one. TypeScript files are modules
 * here even where a package.json above them says CommonJS: a definition lies in all kinds of projects.
 */
function followLoads(): { last(): string | undefined; stop(): void } {
  let last: string | undefined;
  const hooks = registerHooks({
    load: (url, context, nextLoad) => {
      last = url;
      return TYPESCRIPT_FILE.test(url) && !url.includes('/node_modules/')
        ? nextLoad(url, { ...context, format: 'module-typescript' })
        : nextLoad(url, context);
    },
  });
  return { last: () => last, stop: () => hooks.deregister() };
}

async function describeFailure(
  error: unknown,
  shown: string,
  lastLoaded: string | undefined,
): Promise<DefinitionError> {
  if (!(error instanceof Error)) {
    return failed(`'${shown}' threw ${String(error).slice(0, 200)}`, error);
  }
  const code = 'code' in error ? String(error.code) : '';
  if (error instanceof SyntaxError) {
    // Node puts the place in front of the stack for TypeScript, and nowhere for JavaScript: ask `node --check` then.
    const place = /^(?!SyntaxError)([\s\S]*?)\n\s*SyntaxError/.exec(error.stack ?? '')?.[1];
    const found = place ?? (await syntaxCheck(lastLoaded));
    const hint =
      code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX'
        ? 'Node only removes types: write a union of strings for an enum, and plain fields for parameter properties'
        : undefined;
    return failed(`cannot load '${shown}': ${error.message}${indented(found)}`, error, hint);
  }
  const place = placeOf(error);
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

export function failed(message: string, cause: unknown, hint?: string): DefinitionError {
  return new DefinitionError(message, { code: 'E_DEFINITION_LOAD', cause, hint });
}
