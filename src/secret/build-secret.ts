/**
 * Secrets that are given to a build by id, as buildx has them: `--secret id=x,src=path` and `--secret id=x,env=NAME`. A value
 * is bytes, and is read when the first step needs it.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { CsvFieldsError, csvFields } from '../base/csv-fields.ts';
import { DefinitionError, UsageError } from '../errors.ts';

/** Where the value of one secret is. */
export interface BuildSecret {
  readonly id: string;
  /** `either`: the environment variable of that name, and if there is none the file. */
  readonly source: {
    readonly kind: 'file' | 'environment' | 'either';
    /** Path of the file, or name of the variable. */
    readonly name: string;
  };
}

/** A value, or why there is none. */
export type BuildSecretValue =
  | { readonly kind: 'value'; readonly bytes: Uint8Array }
  | { readonly kind: 'missing'; readonly why: string };

/** As BuildKit has it. */
export const MAX_SECRET_BYTES = 500 * 1024;

const KEYS = ['id', 'src', 'env', 'type'] as const;

/**
 * `id=x,src=path`, `id=x,env=NAME`, `id=x,type=env,src=NAME`, `id=x`: fields of RFC 4180.
 *
 * @throws {UsageError} `E_USAGE`
 */
export function parseBuildSecret(text: string): BuildSecret {
  const given = new Map<string, string>();
  for (const field of fieldsOf(text)) {
    const equals = field.indexOf('=');
    const word = field.slice(0, Math.max(equals, 0)).trim().toLowerCase();
    const key = word === 'source' ? 'src' : word;
    if (equals < 0 || !KEYS.some((known) => known === key)) {
      throw usage(`'${field}' is not one of ${KEYS.map((known) => `${known}=…`).join(', ')}`);
    }
    if (given.has(key)) {
      throw usage(`'${key}' is given twice`);
    }
    given.set(key, field.slice(equals + 1));
  }
  const id = given.get('id') ?? '';
  const type = given.get('type');
  const src = given.get('src') || undefined;
  const env = given.get('env') || undefined;
  if (id === '') {
    throw usage('it has no id');
  }
  if (type !== undefined && type !== 'file' && type !== 'env') {
    throw usage(`type '${type}' is neither file nor env`);
  }
  if (src !== undefined && env !== undefined) {
    throw usage(`secret '${id}' has both src and env`);
  }
  if (env !== undefined && type === 'file') {
    throw usage(`secret '${id}' is of type file and has env`);
  }
  const variable = env ?? (type === 'env' ? (src ?? id) : undefined);
  if (variable !== undefined) {
    return { id, source: { kind: 'environment', name: variable } };
  }
  return src === undefined && type === undefined
    ? { id, source: { kind: 'either', name: id } }
    : { id, source: { kind: 'file', name: src ?? id } };
}

/**
 * Reads values by id, each at most once. A later secret of the same id takes the place of an earlier.
 *
 * The function throws {DefinitionError} `E_SECRET_MISSING` for a file that cannot be read, `E_SECRET_VALUE` for one that is too
 * large. No error holds anything of a value.
 */
export function buildSecretReader(
  secrets: readonly BuildSecret[],
  { environment, cwd }: { readonly environment: NodeJS.ProcessEnv; readonly cwd: string },
): (id: string) => Promise<BuildSecretValue> {
  const byId = new Map(secrets.map((secret) => [secret.id, secret]));
  const values = new Map<string, Promise<BuildSecretValue>>();
  return (id) => {
    const secret = byId.get(id);
    if (secret === undefined) {
      return Promise.resolve({ kind: 'missing', why: 'it was not given to the build' });
    }
    const known = values.get(id) ?? readValue(secret, environment, cwd);
    values.set(id, known);
    return known;
  };
}

async function readValue(
  { id, source: { kind, name } }: BuildSecret,
  environment: NodeJS.ProcessEnv,
  cwd: string,
): Promise<BuildSecretValue> {
  const variable = kind === 'file' ? undefined : environment[name];
  if (variable !== undefined) {
    return { kind: 'value', bytes: checkSize(id, Buffer.from(variable, 'utf8')) };
  }
  if (kind === 'environment') {
    return { kind: 'missing', why: `the environment variable '${name}' is not set` };
  }
  const path = resolve(cwd, name);
  try {
    await using file = await open(path);
    return { kind: 'value', bytes: checkSize(id, await readBounded(file)) };
  } catch (cause) {
    if (cause instanceof DefinitionError) {
      throw cause;
    }
    if (kind === 'either' && (cause as NodeJS.ErrnoException).code === 'ENOENT') {
      return { kind: 'missing', why: `there is neither a variable '${name}' nor a file '${path}'` };
    }
    throw new DefinitionError(`cannot read the file '${path}' of secret '${id}': ${reasonOf(cause)}`, {
      code: 'E_SECRET_MISSING',
      cause,
      hint: `name a file that exists with --secret id=${id},src=FILE`,
    });
  }
}

/** Also of a pipe, which has no size before it is read. */
async function readBounded(file: FileHandle): Promise<Buffer> {
  const buffer = Buffer.alloc(MAX_SECRET_BYTES + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length);
    if (bytesRead === 0) {
      break;
    }
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

function checkSize(id: string, bytes: Buffer): Buffer {
  if (bytes.length > MAX_SECRET_BYTES) {
    throw new DefinitionError(`secret '${id}' is larger than ${MAX_SECRET_BYTES} bytes`, {
      code: 'E_SECRET_VALUE',
      hint: 'mount large files as a build context instead',
    });
  }
  return bytes;
}

function fieldsOf(text: string): string[] {
  try {
    return csvFields(text);
  } catch (error) {
    throw error instanceof CsvFieldsError ? usage(error.message) : error;
  }
}

function reasonOf(cause: unknown): string {
  return (cause as NodeJS.ErrnoException).code ?? (cause as Error).message;
}

function usage(problem: string): UsageError {
  return new UsageError(`bad secret: ${problem}`, {
    code: 'E_USAGE',
    hint: 'write id=NAME,src=FILE or id=NAME,env=VARIABLE',
  });
}
