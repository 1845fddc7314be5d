/** What a client may ask for, checked; and the directory that its files are put into while they are built. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { Image } from 'tsbuild';

export interface BuildRequest {
  /** The text. */
  readonly dockerfile: string;
  /** The build context: paths to text, or to bytes in base64. */
  readonly files: Readonly<Record<string, string | { readonly base64: string }>>;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly target: string | undefined;
  /** A name by which the store remembers the image. */
  readonly tag: string | undefined;
  readonly noCache: boolean;
}

/** A request that cannot be answered, with the status that says why. */
export class RequestError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @throws {RequestError} 400, 413, 415. */
export async function readBuildRequest(request: IncomingMessage, maxBytes: number): Promise<BuildRequest> {
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) {
    throw new RequestError(415, 'CONTENT_TYPE', 'the body must be application/json');
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readBody(request, maxBytes));
  } catch (error) {
    throw error instanceof SyntaxError ? bad(`the body is no JSON: ${error.message}`) : error;
  }
  return check(parsed);
}

async function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = Number(request.headers['content-length'] ?? 0);
  const tooLarge = () => new RequestError(413, 'BODY_TOO_LARGE', `the body is larger than ${maxBytes} bytes`);
  if (size > maxBytes) {
    throw tooLarge();
  }
  size = 0;
  // Leaving the loop must not close the connection: the client still has to be told.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      throw tooLarge();
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const FIELDS = ['dockerfile', 'files', 'buildArgs', 'target', 'tag', 'noCache'];

function check(body: unknown): BuildRequest {
  const given = record(body, 'the body');
  const unknown = Object.keys(given).find((name) => !FIELDS.includes(name));
  if (unknown !== undefined) {
    throw bad(`there is no field '${unknown}'; there are ${FIELDS.join(', ')}`);
  }
  const { dockerfile, files = {}, buildArgs = {}, target, tag, noCache = false } = given;
  if (typeof dockerfile !== 'string') {
    throw bad("'dockerfile' must be the text of a Dockerfile");
  }
  if (typeof noCache !== 'boolean') {
    throw bad("'noCache' must be true or false");
  }
  return {
    dockerfile,
    files: Object.fromEntries(
      Object.entries(record(files, "'files'")).map(([path, file]) => [contextPath(path), fileOf(path, file)]),
    ),
    buildArgs: Object.fromEntries(
      Object.entries(record(buildArgs, "'buildArgs'")).map(([name, text]) => [
        name,
        string(text, `buildArgs.${name}`),
      ]),
    ),
    target: target === undefined ? undefined : string(target, 'target'),
    tag: tag === undefined ? undefined : string(tag, 'tag'),
    noCache,
  };
}

/** Inside of the context, whatever it says. */
function contextPath(path: string): string {
  const normal = normalize(path);
  if (
    normal.startsWith('/') ||
    normal === '.' ||
    normal.endsWith('/') ||
    normal.split('/').includes('..') ||
    normal.includes('\0')
  ) {
    throw bad(`'${path}' is no path of a file inside of the context`);
  }
  return normal;
}

function fileOf(path: string, file: unknown): string | { readonly base64: string } {
  return typeof file === 'string'
    ? file
    : { base64: string(record(file, `files['${path}']`).base64, 'base64') };
}

function record(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw bad(`${what} must be an object`);
  }
  return value as Readonly<Record<string, unknown>>;
}

function string(value: unknown, name: string): string {
  if (typeof value !== 'string') {
    throw bad(`'${name}' must be a string`);
  }
  return value;
}

function bad(message: string): RequestError {
  return new RequestError(400, 'BAD_REQUEST', message);
}

export interface OpenContext {
  readonly image: Image;
  /** Removes the files. */
  remove(): Promise<void>;
}

/** Writes the files. */
export async function openContext(request: BuildRequest): Promise<OpenContext> {
  const directory = await mkdtemp(join(tmpdir(), 'build-service-'));
  const remove = () => rm(directory, { recursive: true, force: true });
  try {
    for (const [path, file] of Object.entries(request.files)) {
      const full = join(directory, path);
      await mkdir(dirname(full), { recursive: true });
      await writeFile(full, typeof file === 'string' ? file : Buffer.from(file.base64, 'base64'));
    }
    const image = Image.fromDockerfile(
      { text: request.dockerfile },
      {
        contextDir: directory,
        buildArgs: request.buildArgs,
        ...(request.target === undefined ? {} : { target: request.target }),
      },
    );
    return { image, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}
