/** Which Python a base gets (B6 of the Image API). */
import type { Settings } from '../../settings.ts';
import { definitionError, describe } from './arguments.ts';
import { BUILDER_VERSIONS, type BuilderFacts } from './builder-version.ts';
import type { Diagnostic } from './diagnostic.ts';

const SHAPE = /^3(\.\d{1,2}){1,2}(rc\d*)?t?$/;
const FALLBACK = '3.12';

/**
 * Checks the shape at once; whether the series is supported depends on the builder version and is checked later.
 *
 * @throws {DefinitionError} `E_PYTHON_VERSION_TYPE`, `E_PYTHON_VERSION_FORMAT`, `E_FREE_THREADED`
 */
export function parsePythonVersion(where: string, value: unknown): string | undefined {
  if (value === undefined) {
    return undefined;
  }
  if (typeof value !== 'string') {
    throw definitionError(
      'E_PYTHON_VERSION_TYPE',
      `${where}: a Python version must be a string, not ${describe(value)}`,
      'as a number, 3.10 is 3.1',
    );
  }
  checkShape(where, value);
  if (value.endsWith('t')) {
    throw definitionError(
      'E_FREE_THREADED',
      `${where}: there is no free-threaded Python '${value}' for this base`,
      'Image.fromRegistry() and Image.ubuntu() can add one: addPython: 3.14t',
    );
  }
  return value;
}

function checkShape(where: string, value: string): void {
  if (!SHAPE.test(value)) {
    throw definitionError(
      'E_PYTHON_VERSION_FORMAT',
      `${where}: '${value.slice(0, 40)}' is not a Python version; it looks like 3.12 or 3.12.10`,
    );
  }
}

/** `3.14.2t` is of the series `3.14t`. */
export function seriesOf(version: string): string {
  return version.replace(/^(3\.\d+)(\.\d+)?(rc\d*)?(t?)$/, '$1$4');
}

export interface PythonChoice {
  readonly version: string;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * For a base from a registry: what was asked for, the settings, the series of the host's `python3`, 3.12.
 *
 * @throws {DefinitionError} `E_PYTHON_VERSION_UNSUPPORTED` for one that somebody asked for.
 */
export async function choosePython(
  asked: string | undefined,
  facts: BuilderFacts,
  settings: Settings,
  hostPython: () => Promise<string | undefined>,
): Promise<PythonChoice> {
  const explicit = explicitPython(asked, settings);
  if (explicit !== undefined) {
    checkSupported(explicit.version, explicit.from, facts);
    return { version: explicit.version, diagnostics: [] };
  }
  return await inferredPython(facts, hostPython);
}

/**
 * The series of a Python that is added to a base, where nobody named one: that of the settings, of the host's `python3`, 3.12.
 *
 * @throws {DefinitionError} `E_PYTHON_VERSION_UNSUPPORTED`, `E_PYTHON_VERSION_FORMAT` for what the settings say.
 */
export async function chooseSeries(
  facts: BuilderFacts,
  { pythonVersion }: Settings,
  hostPython: () => Promise<string | undefined>,
): Promise<PythonChoice> {
  if (pythonVersion !== undefined) {
    const { value, from } = pythonVersion;
    checkShape(from, value);
    checkSupported(value, from, facts);
    return { version: seriesOf(value), diagnostics: [] };
  }
  return await inferredPython(facts, hostPython);
}

function checkSupported(version: string, from: string, { pythonSeries }: BuilderFacts): void {
  if (!pythonSeries.includes(seriesOf(version))) {
    throw definitionError(
      'E_PYTHON_VERSION_UNSUPPORTED',
      `Python ${version} (${from}) is not supported; there are ${pythonSeries.join(', ')}`,
    );
  }
}

async function inferredPython(
  { pythonSeries }: BuilderFacts,
  hostPython: () => Promise<string | undefined>,
): Promise<PythonChoice> {
  const host = await hostPython();
  if (host === undefined) {
    return { version: FALLBACK, diagnostics: [] };
  }
  if (pythonSeries.includes(host) && !host.endsWith('t')) {
    return { version: host, diagnostics: [] };
  }
  const message = `python3 of this machine is ${host}, which is not supported; ${FALLBACK} is used`;
  return { version: FALLBACK, diagnostics: [{ code: 'W_PYTHON_FALLBACK', message, layer: 0 }] };
}

/**
 * For a base from Debian's archive: only the suite's own.
 *
 * @throws {DefinitionError} `E_PYTHON_VERSION_UNSUPPORTED`
 */
export function checkDebianPython(asked: string | undefined, facts: BuilderFacts, settings: Settings): void {
  const explicit = explicitPython(asked, settings);
  if (explicit !== undefined && explicit.version !== facts.debianPython) {
    const [having] =
      Object.entries(BUILDER_VERSIONS).find(([, each]) => each.debianPython === explicit.version) ?? [];
    const older = having === undefined ? '' : `builder version ${having} for a Debian that has it, or `;
    throw definitionError(
      'E_PYTHON_VERSION_UNSUPPORTED',
      `Debian ${facts.debian} has Python ${facts.debianPython}, not ${explicit.version} (${explicit.from})`,
      `use ${older}source: 'registry' for another Python, or addPython of Image.ubuntu() and Image.fromRegistry()`,
    );
  }
}

function explicitPython(asked: string | undefined, settings: Settings) {
  if (asked !== undefined) {
    return { version: asked, from: 'pythonVersion' };
  }
  const { pythonVersion } = settings;
  if (pythonVersion === undefined) {
    return undefined;
  }
  const version = parsePythonVersion(pythonVersion.from, pythonVersion.value);
  return version === undefined ? undefined : { version, from: pythonVersion.from };
}
