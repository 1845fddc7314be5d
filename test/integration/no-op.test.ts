/**
 * What a build costs of which everything is known, in counts: which modules of Node and which files of the package it loads, how often
 * it opens the database and what it asks of it, and that it writes nothing to the store.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lacks } from '../support/requires.ts';
import { succeed } from '../support/tsbuild.ts';

/** Told to Node by `--require`. Writes down what the process loaded and asked, when it ends. */
const CENSUS = `
const before = new Set(process.moduleLoadList);
const report = { databases: 0, statements: [], files: [] };
require('node:module').registerHooks({
  load(url, context, next) {
    report.files.push(url);
    return next(url, context);
  },
});
const real = process.getBuiltinModule;
process.getBuiltinModule = (id) => {
  const builtin = real(id);
  if (id !== 'node:sqlite') {
    return builtin;
  }
  return {
    DatabaseSync: class extends builtin.DatabaseSync {
      constructor(...args) {
        super(...args);
        report.databases += 1;
      }
      prepare(sql) {
        report.statements.push(sql);
        return super.prepare(sql);
      }
      exec(sql) {
        report.statements.push(sql);
        return super.exec(sql);
      }
    },
  };
};
process.on('exit', () => {
  report.modules = process.moduleLoadList.filter((name) => !before.has(name));
  require('node:fs').writeFileSync(process.env.CENSUS, JSON.stringify(report));
});
`;

interface Report {
  readonly databases: number;
  readonly statements: readonly string[];
  readonly files: readonly string[];
  readonly modules: readonly string[];
}

/** Beside what Node has when it starts. \`module\` is the compile cache's and the census'; the bindings belong to the others. */
const MODULES = new Set([
  'NativeModule internal/abort_controller',
  'NativeModule os',
  'NativeModule sqlite',
  'Internal Binding os',
  'Internal Binding signal_wrap',
  'Internal Binding sqlite',
  'NativeModule internal/modules/esm/initialize_import_meta',
  'NativeModule internal/source_map/source_map',
  'NativeModule module',
  'NativeModule vm',
]);

describe.skipIf(lacks('root', 'bwrap'))('a build of which everything is known', () => {
  let directory: string;
  let store: string;
  let context: string;
  let report: Report;
  let before: Readonly<Record<string, string>>;

  const build = (more: Readonly<Record<string, string>> = {}) =>
    succeed(['build', context, '--quiet'], {
      env: { TSBUILD_HOME: store, XDG_CACHE_HOME: join(directory, 'cache'), ...more },
    });

  /** Every file of the store but those that an open database and engine have, with when it was written. */
  const written = () =>
    Object.fromEntries(
      readdirSync(store, { recursive: true, encoding: 'utf8' }).flatMap((path) => {
        const { mtimeNs, isFile } = wrap(join(store, path));
        return isFile && !/^(meta\.db-|engines\/)/.test(path) ? [[path, mtimeNs]] : [];
      }),
    );
  const wrap = (path: string) => {
    const found = statSync(path, { bigint: true });
    return { isFile: found.isFile(), mtimeNs: String(found.mtimeNs) };
  };

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsbuild-no-op-'));
    store = join(directory, 'store');
    context = join(directory, 'context');
    const census = join(directory, 'census.cjs');
    mkdirSync(join(context, 'tree'), { recursive: true });
    writeFileSync(census, CENSUS);
    writeFileSync(
      join(context, 'Dockerfile'),
      'FROM scratch AS base\nCOPY tree /tree\nENV A=b\nFROM base\nCOPY --from=base /tree/one /two\n',
    );
    writeFileSync(join(context, '.dockerignore'), 'tree/hidden\n');
    writeFileSync(join(context, 'tree/one'), 'one');
    mkdirSync(join(context, 'tree/hidden'));
    writeFileSync(join(context, 'tree/hidden/file'), 'hidden');
    // Scans of younger files are not remembered.
    await sleep(SETTLED_MS);
    const first = await build();
    before = written();
    const again = await build({
      NODE_OPTIONS: `--require=${census}`,
      CENSUS: join(directory, 'census.json'),
    });
    expect(again.stdout).toBe(first.stdout);
    report = JSON.parse(readFileSync(join(directory, 'census.json'), 'utf8')) as Report;
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test('loads no module of Node that it does not use', () => {
    expect(report.modules.filter((name) => !MODULES.has(name))).toEqual([]);
  });

  test('loads few files, and none of a package that it depends on', () => {
    const files = report.files.filter((url) => url.startsWith('file:'));
    expect(files.filter((url) => url.includes('/node_modules/'))).toEqual([]);
    expect(files.map((url) => url.replace(/.*\//, ''))).toEqual(FILES);
  });

  test('opens one database and only reads it', () => {
    expect(report.databases).toBe(1);
    expect(report.statements.length).toBeGreaterThan(5);
    expect(report.statements.filter((sql) => !/^\s*(SELECT|PRAGMA)\b/.test(sql))).toEqual([]);
    // Each is prepared once.
    const prepared = report.statements.filter((sql) => sql.startsWith('SELECT'));
    expect(prepared.length - new Set(prepared).size).toBeLessThanOrEqual(REPEATED);
  });

  test('writes nothing to the store', () => {
    expect(written()).toEqual(before);
    expect(readdirSync(join(store, 'engines'))).toEqual([]);
  });
});

/** As old as git's rule for racy entries asks. */
const SETTLED_MS = 2100;
/** It reads the script of the command line, which is no module. */
const FILES = ['tsbuild.js'];
/** Of what is asked once in a build it does not matter. */
const REPEATED = 2;
