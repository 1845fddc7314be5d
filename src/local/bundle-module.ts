/**
 * Makes one file of a module and what it imports, as far as one export needs it (B12.2 of the Image API). The bundler is an
 * optional package that is loaded when the first module is bundled.
 */
import { dirname, resolve } from 'node:path';
import { DefinitionError, HostError } from '../errors.ts';
import { acorn } from '../frontend/fluent/javascript-captures.ts';

export interface Bundle {
  /** A module whose default export is the function; its last line is a source map. */
  readonly code: string;
  /** Without comments, and so without names of files. */
  readonly keyText: string;
  readonly importsTsbuild: boolean;
  /** Files that the source map leads to. */
  readonly sources: readonly string[];
}

export interface BundleRequest {
  /** Absolute. */
  readonly path: string;
  readonly exportName: string;
  readonly external: readonly string[];
  /** What `tsbuild` means: a name that is left as it is, or this very program's own files. */
  readonly tsbuild: 'external' | 'bundled';
}

type Rolldown = typeof import('rolldown');

const ENTRY = '\0tsbuild:entry';
/** The oldest Node that the driver works with. */
const TARGET = 'node18.19';

/** @throws {DefinitionError} `E_FN_BUNDLE`, `E_FN_NOT_FOUND`; {HostError} `E_BUNDLER_MISSING` */
export async function bundleModule(request: BundleRequest): Promise<Bundle> {
  const { path, exportName, external } = request;
  const { rolldown } = await loadRolldown();
  const directory = dirname(path);
  const isExternal = (id: string) => external.some((name) => id === name || id.startsWith(`${name}/`));
  try {
    await using bundle = await rolldown({
      cwd: directory,
      input: ENTRY,
      platform: 'node',
      logLevel: 'silent',
      transform: { target: TARGET },
      plugins: [
        {
          name: 'tsbuild-function',
          async resolveId(id, importer) {
            if (id === ENTRY) {
              return id;
            }
            if (id === 'tsbuild' && request.tsbuild === 'external') {
              return { id, external: true };
            }
            if (/^(\.{0,2}\/|#|\0)/.test(id) || id.startsWith('node:')) {
              return null;
            }
            if (isExternal(id)) {
              return { id, external: true };
            }
            // What is not installed here is looked up in the image, if the function needs it.
            return (
              (await this.resolve(id, importer, { skipSelf: true })) ?? {
                id,
                external: true,
                moduleSideEffects: false,
              }
            );
          },
          load: (id) =>
            id === ENTRY
              ? exportName === '*'
                ? `export * from ${JSON.stringify(path)};`
                : `export { ${JSON.stringify(exportName)} as default } from ${JSON.stringify(path)};`
              : null,
        },
      ],
    });
    const { output } = await bundle.generate({
      dir: directory,
      format: 'esm',
      sourcemap: true,
      codeSplitting: false,
      comments: false,
    });
    const [chunk] = output;
    const map = chunk.map;
    const sources = (map?.sources ?? []).map((source) => resolve(directory, source));
    const { keyText, body } = withoutComments(chunk.code);
    const url = Buffer.from(
      JSON.stringify({ version: 3, names: map?.names ?? [], sources, mappings: map?.mappings ?? '' }),
    ).toString('base64');
    return {
      code: `${body}\n//# sourceMappingURL=data:application/json;base64,${url}\n`,
      keyText,
      importsTsbuild: chunk.imports.includes('tsbuild') || chunk.dynamicImports.includes('tsbuild'),
      sources,
    };
  } catch (error) {
    throw bundleError(error, request);
  }
}

async function loadRolldown(): Promise<Rolldown> {
  try {
    return await import('rolldown');
  } catch (cause) {
    throw new HostError("bundling a function's module needs the package 'rolldown', which cannot be loaded", {
      code: 'E_BUNDLER_MISSING',
      cause,
      hint: 'npm install rolldown@1',
    });
  }
}

/** The bundler's comments name files relative to the module; they are no part of the program. */
function withoutComments(code: string): { readonly keyText: string; readonly body: string } {
  const ranges: [number, number][] = [];
  acorn().parse(code, {
    ecmaVersion: 'latest',
    sourceType: 'module',
    onComment: (_block, _text, start, end) => ranges.push([start, end]),
  });
  let keyText = '';
  let at = 0;
  for (const [start, end] of ranges) {
    keyText += code.slice(at, start);
    at = end;
  }
  const last = ranges.at(-1);
  const isMapLine = last !== undefined && code.startsWith('//# sourceMappingURL=', last[0]);
  return {
    keyText: (keyText + code.slice(at)).trim(),
    body: isMapLine ? code.slice(0, last[0]).trimEnd() : code.trimEnd(),
  };
}

function bundleError(error: unknown, { path, exportName }: BundleRequest): unknown {
  if (error instanceof DefinitionError || error instanceof HostError) {
    return error;
  }
  const failures = (error as { errors?: readonly { code?: string; message?: string }[] }).errors ?? [];
  if (failures.some(({ code }) => code === 'MISSING_EXPORT') && failures.length === 1) {
    const message = failures[0]?.message ?? '';
    if (message.includes('tsbuild:entry') || message.includes(`"${exportName}"`)) {
      return new DefinitionError(`'${path}' has no export '${exportName}'`, {
        code: 'E_FN_NOT_FOUND',
        cause: error,
      });
    }
  }
  const text = failures.length > 0 ? failures.map(({ message }) => message ?? '').join('\n') : String(error);
  return new DefinitionError(`cannot bundle '${path}': ${text}`, {
    code: 'E_FN_BUNDLE',
    cause: error,
    hint: /\.node\b/.test(text)
      ? "name the package that has native code in jsFunction(…, { external: ['package'] }), and install it in the image"
      : undefined,
  });
}
