import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfigFiles } from '../../../src/engine/config-files.ts';
import { readSettings } from '../../../src/settings.ts';
import { type Leaf, temporaryTree } from '../../support/temporary-tree.ts';

const config = (value: unknown) => JSON.stringify(value);
const usage = (text: string) =>
  expect.objectContaining({ code: 'E_USAGE', message: expect.stringContaining(text) });

async function read(leaves: Record<string, Leaf>, cwd = 'project', environment: NodeJS.ProcessEnv = {}) {
  const tree = await temporaryTree({ project: null, home: null, ...leaves });
  try {
    const places = Object.fromEntries(
      Object.entries(environment).map(([name, value]) => [
        name,
        value === '' ? '' : join(tree.path, value ?? ''),
      ]),
    );
    return readConfigFiles(join(tree.path, cwd), { HOME: join(tree.path, 'home'), ...places });
  } finally {
    await tree[Symbol.asyncDispose]();
  }
}

describe('readConfigFiles', () => {
  it('without files has nothing', async () => {
    expect(await read({})).toEqual({ project: {}, user: {} });
  });

  it('takes the nearest file upward, and that alone', async () => {
    const leaves = {
      'tsbuild.config.json': config({ offline: true, aptMirror: 'far' }),
      'project/tsbuild.config.json': config({ aptMirror: 'near' }),
      'project/a/b/x': '',
    };
    expect((await read(leaves, 'project/a/b')).project).toEqual({ aptMirror: 'near' });
    expect((await read(leaves, 'project')).project).toEqual({ aptMirror: 'near' });
    expect((await read(leaves, 'home')).project).toEqual({ offline: true, aptMirror: 'far' });
  });

  it('finds the user file: TSBUILD_CONFIG_PATH, XDG_CONFIG_HOME, HOME', async () => {
    const leaves = {
      'home/.config/tsbuild/config.json': config({ from: 'home' }),
      'xdg/tsbuild/config.json': config({ from: 'xdg' }),
      'own.json': config({ from: 'own' }),
    };
    expect((await read(leaves)).user).toEqual({ from: 'home' });
    expect((await read(leaves, 'project', { XDG_CONFIG_HOME: 'xdg' })).user).toEqual({ from: 'xdg' });
    const both = { XDG_CONFIG_HOME: 'xdg', TSBUILD_CONFIG_PATH: 'own.json' };
    expect((await read(leaves, 'project', both)).user).toEqual({ from: 'own' });
    expect((await read(leaves, 'project', { XDG_CONFIG_HOME: '', TSBUILD_CONFIG_PATH: '' })).user).toEqual({
      from: 'home',
    });
  });

  it('environment, project, user, default: the first that says something', async () => {
    const files = await read({
      'home/.config/tsbuild/config.json': config({ aptMirror: 'u', npmRegistry: 'u', pipIndexUrl: 'u' }),
      'project/tsbuild.config.json': config({ aptMirror: 'p', npmRegistry: 'p' }),
    });
    const settings = readSettings({ TSBUILD_APT_MIRROR: 'e' }, files.project, files.user);
    expect([settings.aptMirror, settings.npmRegistry, settings.pipIndexUrl, settings.gpuPolicy]).toEqual([
      'e',
      'p',
      'u',
      'auto',
    ]);
  });

  it.each([
    ['no JSON', '{offline: true}', 'is not JSON'],
    ['empty', '', 'is not JSON'],
    ['a list', '[]', 'must hold a JSON object'],
    ['null', 'null', 'must hold a JSON object'],
    ['a text', '"x"', 'must hold a JSON object'],
  ])('refuses a file that is %s, and names it', async (_, text, message) => {
    await expect(read({ 'project/tsbuild.config.json': text })).rejects.toEqual(usage(message));
    await expect(read({ 'home/.config/tsbuild/config.json': text })).rejects.toEqual(usage('home/.config'));
  });

  it('refuses a directory of that name', async () => {
    await expect(read({ 'project/tsbuild.config.json': null })).rejects.toEqual(usage('EISDIR'));
  });

  it('a file where a directory should be is no file', async () => {
    expect((await read({ 'home/.config': 'x' })).user).toEqual({});
  });
});
