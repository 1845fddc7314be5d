import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Screen } from '../../support/screen.ts';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const driver = path('../../support/cli-process.ts');
const bin = path('../../../bin/tsbuild.js');
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsbuild-process-'));
  write(
    'image.ts',
    `import { FakeImage } from '${path('../../support/fake-engine.ts')}';\nexport default new FakeImage('one');\n`,
  );
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function write(name: string, text: string): string {
  writeFileSync(join(directory, name), text);
  return name;
}

function start(script: object, ...argv: string[]): ChildProcess {
  return spawn(process.execPath, [driver, ...argv], {
    cwd: directory,
    env: { ...process.env, FAKE_ENGINE: JSON.stringify(script), FAKE_EVENTS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function ended(child: ChildProcess): Promise<{ status: number | null; stderr: string }> {
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const status = await new Promise<number | null>((done) => child.on('close', done));
  return { status, stderr };
}

/** Resolves when progress shows that the build runs. */
function running(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    child.stderr?.on('data', (chunk) => {
      if (String(chunk).includes('pipInstall')) {
        done();
      }
    });
  });
}

describe('signals', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s cancels and ends with %d', async (signal, status) => {
    const child = start({ untilCancelled: true }, 'build', 'image.ts');
    const end = ended(child);
    await running(child);
    child.kill(signal);
    expect(await end).toMatchObject({ status, stderr: expect.stringContaining(`cancelled by ${signal}`) });
  });

  it('a second SIGINT does not wait', async () => {
    const child = start({ untilCancelled: true, deaf: true }, 'build', 'image.ts');
    const end = ended(child);
    await running(child);
    child.kill('SIGINT');
    // The first one must have been delivered, or both would count as one.
    await new Promise<void>((done) =>
      child.stderr?.on('data', (chunk) => String(chunk).includes('once more') && done()),
    );
    child.kill('SIGINT');
    expect((await end).status).toBe(130);
  });
});

describe('pipes', () => {
  it('a reader that goes away fails nothing', async () => {
    const child = start({}, 'build', 'image.ts');
    child.stdout?.destroy();
    expect((await ended(child)).status).toBe(0);
    const blind = start({}, 'build', 'image.ts');
    blind.stderr?.destroy();
    const status = await new Promise((done) => blind.on('exit', done));
    expect(status).toBe(0);
  });

  it('results and progress do not mix', async () => {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [driver, 'build', 'image.ts'], {
      cwd: directory,
      env: { ...process.env, FAKE_EVENTS: '1' },
    });
    expect(stdout).toBe(`sha256:${'1'.repeat(64)}\n`);
    expect(stderr).toContain('#1 CACHED');
  });
});

describe('a real terminal', () => {
  const noScript = spawnSync('script', ['--version']).error !== undefined;

  it.skipIf(noScript).each([80, 20])('gets live progress that ends clean at %d columns', (columns) => {
    const command = `stty cols ${columns} rows 24; exec ${process.execPath} ${driver} build image.ts`;
    const { stdout, status } = spawnSync('script', ['-qec', command, '/dev/null'], {
      cwd: directory,
      env: { ...process.env, FAKE_EVENTS: '1', TERM: 'xterm', NO_COLOR: '' },
      encoding: 'utf8',
      input: '',
    });
    expect(status).toBe(0);
    const screen = new Screen(columns, 24);
    screen.write(stdout);
    expect(screen.unknown).toBe(0);
    expect(screen.cursorVisible).toBe(true);
    expect(screen.text().match(/Building/g)).toHaveLength(1);
    expect(screen.text().replaceAll('\n', '')).toContain(`sha256:${'1'.repeat(64)}`);
    expect(stdout).not.toContain('\u0007');
  });

  it.skipIf(noScript)('gets plain lines when it is dumb', () => {
    const { stdout } = spawnSync(
      'script',
      ['-qec', `${process.execPath} ${driver} build image.ts`, '/dev/null'],
      {
        cwd: directory,
        env: { ...process.env, FAKE_EVENTS: '1', TERM: 'dumb' },
        encoding: 'utf8',
        input: '',
      },
    );
    expect(stdout).toContain('#1 CACHED');
    expect(stdout).not.toContain('\u001b');
  });
});

describe('definitions', () => {
  const load = (name: string) => {
    const { stderr, status } = spawnSync(process.execPath, [driver, 'plan', name], {
      cwd: directory,
      encoding: 'utf8',
    });
    return { status, stderr: stderr.replaceAll(directory, 'DIR') };
  };

  it.each([
    ['syntax.ts', 'const y: number = 3;\nexport default foo(;\n'],
    ['syntax.mjs', 'export default 1;\nlet z = = 3;\n'],
    ['enum.ts', 'enum A { x }\nexport default A;\n'],
    ['throws.ts', "function go(): never {\n  throw new TypeError('boom');\n}\nexport default go();\n"],
    ['string.ts', "throw 'a string';\n"],
    ['missing-import.ts', "import { x } from 'not-there';\nexport default x;\n"],
    ['missing-export.ts', "import { nope } from './other.ts';\nexport default nope;\n"],
    ['no-image.ts', 'export const a = 1, b = 2;\n'],
    ['usage.ts', `import { eager } from './eager.ts';\n\nexport default eager(3);\n`],
  ])('%s is refused with the line that is wrong', async (name, text) => {
    write('other.ts', 'export const a = 1;\n');
    write(
      'eager.ts',
      `import { DefinitionError } from '${path('../../../src/errors.ts')}';\nexport function eager(value: unknown) { throw new DefinitionError('expected a string', { code: 'E_NOT_STRINGS' }); }\n`,
    );
    const { status, stderr } = load(write(name, text));
    expect(status).toBe(2);
    await expect(stderr).toMatchFileSnapshot(`../../golden/cli/definition-${name.replace('.', '-')}.txt`);
  });

  it.each([
    ['nowhere.ts', "there is no file 'nowhere.ts'"],
    ['.', "'.' is not a file"],
    ['image.ts::defualt', "did you mean '::default'?"],
    ['image.ts::', 'is not a file, or a file and exports'],
  ])('%s is refused', (name, reason) => {
    const { status, stderr } = load(name);
    expect(status).toBe(2);
    expect(stderr).toContain(reason);
  });

  it('a TypeScript definition is a module whatever the package above it says, and Node keeps quiet', () => {
    for (const type of ['"type": "commonjs"', '"name": "x"']) {
      const folder = mkdtempSync(join(directory, 'package-'));
      writeFileSync(join(folder, 'package.json'), `{ ${type} }`);
      writeFileSync(join(folder, 'name.ts'), "export const name: string = 'one';\n");
      writeFileSync(
        join(folder, 'image.ts'),
        `import { FakeImage } from '${path('../../support/fake-engine.ts')}';\nimport { name } from './name.ts';\nexport default new FakeImage(name);\n`,
      );
      const { stderr, status } = spawnSync(process.execPath, [driver, 'plan', 'image.ts'], {
        cwd: folder,
        encoding: 'utf8',
      });
      expect(stderr).toBe('');
      expect(status).toBe(0);
    }
  });

  it("'tsbuild' is this tsbuild, whatever lies beside the definition", () => {
    const index = write('own-index.mjs', "export class Image { plan() { return 'mine'; } }\n");
    write('uses.ts', "import { Image } from 'tsbuild';\nexport default new Image();\n");
    const code = `
      import { loadDefinition } from ${JSON.stringify(path('../../../src/cli/load-definition.ts'))};
      const ownIndex = new URL(${JSON.stringify(`file://${join(directory, index)}`)}).href;
      const { Image } = await import(ownIndex);
      const [loaded] = await loadDefinition({ path: 'uses.ts', exports: [] }, { cwd: ${JSON.stringify(directory)}, Image, App: class {}, AppFunction: class {}, ownIndex });
      console.log(loaded.exportName, loaded.image.plan(), loaded.definition.endsWith('uses.ts::default'));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(stdout).toBe('default mine true\n');
  });
});

describe('bin/tsbuild.js', () => {
  it('says its version', () => {
    const { stdout, status } = spawnSync(process.execPath, [bin, '--version'], { encoding: 'utf8' });
    expect(stdout).toMatch(/^tsbuild \d/);
    expect(status).toBe(0);
  });

  it('names the Node that is too old, and what to do', () => {
    const pretend = `data:text/javascript,${encodeURIComponent("Object.defineProperty(process.versions, 'node', { value: '18.20.4' })")}`;
    const { stderr, status } = spawnSync(process.execPath, ['--import', pretend, bin, 'build'], {
      encoding: 'utf8',
    });
    expect(status).toBe(3);
    expect(stderr).toMatch(/needs Node 22\.18 or later, and this is Node 18\.20\.4\nhint: /);
  });
});
