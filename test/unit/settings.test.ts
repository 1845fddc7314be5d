import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isTruthy, readSettings } from '../../src/settings.ts';
import { SETTINGS } from '../../src/settings-table.ts';

const code = expect.objectContaining({ code: 'E_USAGE' });

test.each([
  [undefined, false],
  ['', false],
  ['0', false],
  ['False', false],
  ['no', true],
  ['1', true],
])('%j as a boolean: %j', (text, expected) => {
  expect(isTruthy(text)).toBe(expected);
});

describe('precedence', () => {
  test('environment, project file, user file, default', () => {
    const read = (env: object, project: object, user: object) =>
      readSettings({ HOME: '/h', ...env }, { ...project }, { ...user }).environment;
    expect(read({ TSBUILD_ENVIRONMENT: 'e' }, { environment: 'p' }, { environment: 'u' })).toBe('e');
    expect(read({ TSBUILD_ENVIRONMENT: '' }, { environment: 'p' }, { environment: 'u' })).toBe('p');
    expect(read({}, {}, { environment: 'u' })).toBe('u');
    expect(read({}, {}, {})).toBe('main');
  });

  test('a false in the project file stands over a true in the user file', () => {
    expect(readSettings({}, { offline: false }, { offline: true }).offline).toBe(false);
  });

  test('what is checked later remembers where it came from', () => {
    expect(readSettings({ TSBUILD_PYTHON_VERSION: '3.12' }).pythonVersion).toEqual({
      value: '3.12',
      from: 'TSBUILD_PYTHON_VERSION',
    });
    expect(readSettings({}, { imageBuilderVersion: 'x' }).imageBuilderVersion?.from).toContain('project');
  });
});

test('a key that nothing reads is an error with the one that was meant', () => {
  expect(() => readSettings({}, { forcebuild: true })).toThrow(
    expect.objectContaining({ code: 'E_USAGE', hint: "did you mean 'forceBuild'?" }),
  );
  expect(() => readSettings({}, {}, { colour: 'red' })).toThrow(code);
});

test('every variable of the source is in the table of settings, and no other', () => {
  const named = new Set(
    readdirSync('src', { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && name !== 'settings-table.ts')
      .flatMap((name) => readFileSync(join('src', name), 'utf8').match(/\bTSBUILD_[A-Z_]+/g) ?? []),
  );
  // What containers and steps find in their environment, and what tsbuild tells its own launcher.
  const told = /^TSBUILD_(IS_|IMAGE_(ID|RECIPE)$|FAILED_COMMAND$|(STEP_)?LAUNCHER)/;
  expect([...named].filter((name) => !told.test(name)).sort()).toEqual(
    SETTINGS.map(({ variable }) => variable).sort(),
  );
});

test('the state directory follows XDG', () => {
  expect(readSettings({ HOME: '/h' }).home).toBe('/h/.local/share/tsbuild');
  expect(readSettings({ HOME: '/h', XDG_DATA_HOME: '/x' }).home).toBe('/x/tsbuild');
  expect(readSettings({ HOME: '/h', XDG_DATA_HOME: 'relative' }).home).toBe('/h/.local/share/tsbuild');
  expect(readSettings({ TSBUILD_HOME: '/t', XDG_DATA_HOME: '/x' }).home).toBe('/t');
});

test('mirrors of registries', () => {
  const mirrors = 'docker.io=http://one:5000,docker.io=http://two , ghcr.io=https://three/x';
  expect({ ...readSettings({ TSBUILD_REGISTRY_MIRRORS: mirrors }).registryMirrors }).toEqual({
    'docker.io': ['http://one:5000', 'http://two'],
    'ghcr.io': ['https://three/x'],
  });
  expect(() => readSettings({ TSBUILD_REGISTRY_MIRRORS: 'docker.io' })).toThrow(code);
  for (const wrong of [
    'docker.io=nonsense',
    'docker.io=ftp://mirror.example',
    'docker.io=https://me:secret@mirror.example',
  ]) {
    expect(() => readSettings({ TSBUILD_REGISTRY_MIRRORS: wrong })).toThrow(code);
    expect(() => readSettings({ TSBUILD_REGISTRY_MIRRORS: wrong })).not.toThrow(/secret/);
  }
  // One registry with several names.
  const alias = readSettings({ TSBUILD_REGISTRY_MIRRORS: 'index.docker.io=https://mirror.example' });
  expect(Object.keys(alias.registryMirrors)).toEqual(['docker.io']);
});

test('values that cannot be understood name their place and the choices', () => {
  expect(() => readSettings({ TSBUILD_DEBIAN_SOURCE: 'x' })).toThrow(
    /TSBUILD_DEBIAN_SOURCE.*registry, archive/,
  );
  expect(() => readSettings({}, { gpuPolicy: 'x' })).toThrow(code);
  expect(() => readSettings({ TSBUILD_LIMITS_POLICY: 'x' })).toThrow(/warn, require/);
  // A network for whole builds that reaches nothing would be a surprise; a step asks for that itself.
  expect(() => readSettings({ TSBUILD_NETWORK: 'none' })).toThrow(/host, private/);
  expect(() => readSettings({}, { offline: [] })).toThrow(code);
});

test('the encryption key is not read from files, which are shared', () => {
  expect(() => readSettings({}, { secretsKey: 'x' })).toThrow(
    expect.objectContaining({ code: 'E_USAGE', hint: "did you mean 'secretsKeyFile'?" }),
  );
});

test('directories of devices are listed as PATH is, and none of them is relative', () => {
  expect(readSettings({})).toMatchObject({ cdiDirs: [], driverRoot: '/' });
  expect(readSettings({ TSBUILD_CDI_DIRS: '/a::/b' }, { driverRoot: '/run/nvidia/driver' })).toMatchObject({
    cdiDirs: ['/a', '/b'],
    driverRoot: '/run/nvidia/driver',
  });
  expect(() => readSettings({ TSBUILD_CDI_DIRS: '/a:b' })).toThrow(/TSBUILD_CDI_DIRS holds 'b'/);
  expect(() => readSettings({ TSBUILD_DRIVER_ROOT: 'driver' })).toThrow(/no absolute path/);
});
