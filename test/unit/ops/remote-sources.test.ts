import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../../src/base/canonical-json.ts';
import {
  type Operation,
  type SourceGit,
  type SourceHttp,
  type SourcePython,
  vertex,
} from '../../../src/graph/vertex.ts';
import type { Digest } from '../../../src/oci/digest.ts';
import { type SourceGitOptions, sourceGitOp } from '../../../src/ops/source-git.ts';
import { httpInput, sourceHttpOp } from '../../../src/ops/source-http.ts';
import { type SourcePythonOptions, sourcePythonOp } from '../../../src/ops/source-python.ts';
import type { Op } from '../../../src/solver/op.ts';

const signal = new AbortController().signal;
const context = { signal, emit: () => undefined };
const git = sourceGitOp({} as SourceGitOptions);

async function keyOf(op: Op, operation: Operation): Promise<string> {
  const of = vertex(operation, [], { platform: { os: 'linux', architecture: 'amd64' }, label: 'l' });
  return canonicalJson((await op.cacheKeyFields(of, signal)).map(({ name, value }) => [name, value]));
}

const digest = (digit: string) => `sha256:${digit.repeat(64)}` as Digest;
const file: SourceHttp = {
  kind: 'source-http',
  url: 'https://h/f',
  digest: digest('a'),
  name: 'f',
  mtimeSeconds: 7,
};
const commit: SourceGit = {
  kind: 'source-git',
  remote: 'https://h/r.git',
  commit: 'a'.repeat(40),
  keepGitDir: false,
  submodules: false,
};

describe('the key of a web file', () => {
  it.each<[Partial<SourceHttp>, boolean]>([
    [{ digest: digest('b') }, true],
    [{ name: 'g' }, true],
    [{ url: 'https://h/other' }, false],
    [{ mtimeSeconds: 8 }, false],
  ])('%j', async (other, inKey) => {
    expect((await keyOf(sourceHttpOp, { ...file, ...other })) !== (await keyOf(sourceHttpOp, file))).toBe(
      inKey,
    );
  });
});

describe('the key of an added Python', () => {
  const python: SourcePython = { kind: 'source-python', release: '1', file: 'a', digest: digest('a') };
  const op = sourcePythonOp({} as SourcePythonOptions);
  it.each<[Partial<SourcePython>, boolean]>([
    [{ digest: digest('b') }, true],
    [{ release: '2' }, false],
    [{ file: 'b' }, false],
  ])('%j', async (other, inKey) => {
    expect((await keyOf(op, { ...python, ...other })) !== (await keyOf(op, python))).toBe(inKey);
  });
});

describe('the key of a commit', () => {
  const branch = { ref: 'refs/heads/b' };
  it.each<[Partial<SourceGit>, Partial<SourceGit>, boolean]>([
    [{}, { commit: 'b'.repeat(40) }, true],
    [{}, { subdir: 'd' }, true],
    [{}, { keepGitDir: true }, true],
    [{}, { submodules: true }, true],
    [{}, { mtime: 'commit' }, true],
    [{}, { mtime: 'checkout' }, false],
    [{}, branch, false],
    [{ submodules: true }, branch, false],
    [{ keepGitDir: true }, branch, true],
    [{}, { remote: 'https://h/other.git' }, false],
    [{ submodules: true }, { remote: 'https://h/other.git' }, true],
    [{ keepGitDir: true }, { remote: 'https://h/other.git' }, true],
  ])('%j with %j', async (base, other, inKey) => {
    const before = await keyOf(git, { ...commit, ...base });
    expect((await keyOf(git, { ...commit, ...base, ...other })) !== before).toBe(inKey);
  });
});

describe('a web file as an input', () => {
  it('is a private file with the time that the server gave', async () => {
    const seen: unknown[] = [];
    const files = {
      contents: async (wanted: unknown) => {
        seen.push(wanted);
        return { path: '/blob', mtimeSeconds: 8 };
      },
    };
    expect(await httpInput(files, file, context)).toEqual({
      path: '/f',
      kind: 'file',
      hostPath: '/blob',
      mode: 0o600,
      mtimeNs: '8000000000',
    });
    expect(seen).toEqual([file]);
    const undated = { contents: async () => ({ path: '/blob', mtimeSeconds: 0 }) };
    expect((await httpInput(undated, file, context)).mtimeNs).toBe('0');
  });

  it('is nothing that was fetched when the graph is solved', async () => {
    const of = (operation: SourceHttp) =>
      sourceHttpOp.execute(
        vertex(operation, [], { platform: { os: 'linux', architecture: 'amd64' }, label: 'l' }),
        [],
        { ...context, resultId: 'r', forced: false },
      );
    expect(await of(file)).toEqual(await of({ ...file, url: 'https://h/other', mtimeSeconds: 9 }));
    expect(await of(file)).not.toEqual(await of({ ...file, name: 'g' }));
  });
});
