/** Where the tools that the engine brings come from (Image API, A5.2: `TSBUILD_UV_SOURCE`). */
import { execFile } from 'node:child_process';
import { copyFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { HostError, RemoteError } from '../errors.ts';
import type { SourceTool, Vertex } from '../graph/vertex.ts';
import { operationOf } from '../ops/operation-of.ts';
import { recordImage } from '../ops/source-image.ts';
import type { OpContext, Result } from '../solver/op.ts';
import { resolveBaseImage } from './base-resolver.ts';
import type { EngineParts } from './parts.ts';
import { repositoryOfText } from './registries.ts';

const TOOL_IMAGES = { uv: 'ghcr.io/astral-sh/uv' } as const;
const PYPI = 'https://pypi.org/simple/';

export interface ToolBinary {
  readonly name: string;
  readonly path: string;
}

export async function fetchTool(
  { settings, environment }: EngineParts,
  { tool, version, architecture }: SourceTool,
  directory: string,
  { signal, emit }: OpContext,
): Promise<readonly ToolBinary[]> {
  if (settings.uvSource === 'host') {
    return [await hostTool(tool, version, directory, environment)];
  }
  if (settings.offline) {
    throw new RemoteError(`${tool} ${version} has to be fetched, and the network is forbidden`, {
      code: 'E_OFFLINE',
      hint: 'build once without --offline, or set TSBUILD_UV_SOURCE=host',
    });
  }
  const [{ HttpClient }, { fetchUv }] = await Promise.all([
    import('../http/http-client.ts'),
    import('../tools/uv.ts'),
  ]);
  const http = new HttpClient({ environment });
  try {
    return await fetchUv({
      version,
      architecture,
      indexUrl: settings.pipIndexUrl ?? PYPI,
      http,
      directory,
      signal,
      emit,
    });
  } finally {
    await http.close();
  }
}

/** The tool's registry image. Its layers are fetched when somebody copies from it. */
export async function toolImage(parts: EngineParts, vertex: Vertex, signal: AbortSignal): Promise<Result> {
  const { tool, version } = operationOf(vertex, 'source-tool');
  const { blobs, images } = parts.store;
  const reference = `${TOOL_IMAGES[tool]}:${version}`;
  const { manifestDigest } = await resolveBaseImage(
    { blobs, images, registries: parts.registries },
    reference,
    vertex.platform,
    { again: false, signal },
  );
  return await recordImage({ blobs, layers: parts.layers }, manifestDigest, repositoryOfText(reference));
}

async function hostTool(
  tool: string,
  version: string,
  directory: string,
  environment: NodeJS.ProcessEnv,
): Promise<ToolBinary> {
  for (const folder of (environment.PATH ?? '').split(delimiter).filter((part) => part.startsWith('/'))) {
    const candidate = join(folder, tool);
    try {
      const { stdout } = await promisify(execFile)(candidate, ['--version'], { timeout: 10_000 });
      if (version !== 'latest' && !stdout.includes(` ${version}`)) {
        continue;
      }
      const path = join(directory, tool);
      await copyFile(candidate, path);
      return { name: tool, path };
    } catch {
      // Not there, or not to be run: the next folder may have it.
    }
  }
  throw new HostError(`this machine has no ${tool}${version === 'latest' ? '' : ` ${version}`} on its PATH`, {
    code: 'E_TOOL_MISSING',
    hint: `install ${tool}, or set TSBUILD_UV_SOURCE=pypi`,
  });
}
