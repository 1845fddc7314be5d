/** `tsbuild run` and `tsbuild build` on definitions that export apps: the command as a user has it, real containers. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { makeAccount } from '../../support/account.ts';
import { busyboxPath } from '../../support/busybox.ts';
import { glibcExpression } from '../../support/glibc-image.ts';
import { lacks } from '../../support/requires.ts';
import { installTsbuild, succeed } from '../../support/tsbuild.ts';
import { Workbench } from '../../support/workbench.ts';

const APP = `import { App, Image, jsFunction } from 'tsbuild';
import { readFileSync } from 'node:fs';

interface Answer { readonly sum: number; readonly name: string }

const image = ${glibcExpression(busyboxPath())}.runCommands('echo in the image > /name');
const app = new App('demo', { image });

export function add(left: number, right: number): Answer {
  console.error('adding');
  if (right < 0) {
    throw new RangeError('too small');
  }
  return { sum: left + right, name: readFileSync('/name', 'utf8').trim() };
}

export const remote = app.function({}, jsFunction(new URL(import.meta.url), 'add'));
export const inline = app.function({ image: image.env({ OTHER: '1' }) }, async function inline(what: string): Promise<never> {
  const text: string = \`no \${what}\`;

  throw new TypeError(text);
});
export default app;
`;

describe.skipIf(lacks('bwrap', 'busybox', 'root'))('apps on the command line', () => {
  test('tsbuild run calls a function of the app: its output, its result, its status (C136)', async () => {
    using bench = new Workbench();
    bench.write({ 'app.ts': APP });
    const ran = await bench.run(['run', '--progress=plain', 'app.ts::remote', '--', '1', '2']);
    expect(ran.stderr).toContain('adding');
    expect(JSON.parse(ran.stdout)).toEqual({ sum: 3, name: 'in the image' });
    expect(ran.status).toBe(0);

    const failed = await bench.run(['run', '--progress=plain', 'app.ts::remote', '--', '1', '-1']);
    expect(failed.status).toBe(1);
    expect(failed.stdout).toBe('');
    expect(failed.stderr).toContain('error: RangeError: too small');
    const line = APP.split('\n').findIndex((text) => text.includes("'too small'")) + 1;
    expect(failed.stderr).toContain(`${bench.at('app.ts')}:${line}`);

    // What it printed stands above the error and is not said again below it.
    expect(failed.stderr.match(/^adding$/gm)).toHaveLength(1);

    // Node leaves blanks in the place of types, so that the place of an inline function is known too.
    const inline = await bench.run(['run', '--progress=plain', 'app.ts::inline', '--', 'way']);
    expect(inline.status).toBe(1);
    expect(inline.stderr).toContain('error: TypeError: no way');
    const inlineLine = APP.split('\n').findIndex((text) => text.includes('new TypeError')) + 1;
    expect(inline.stderr).toContain(`${bench.at('app.ts')}:${inlineLine}`);

    const which = await bench.run(['run', 'app.ts']);
    expect(which.status).toBe(2);
    expect(which.stderr).toContain('exports 2 functions: inline, remote');
  });

  test('an image that is the default export is what a file is about: its functions are called by name', async () => {
    using bench = new Workbench();
    bench.write({
      'app.ts': APP.replace(
        'export default app;',
        "export default image.cmd(['/bin/sh', '-c', 'cat /name']);",
      ),
    });
    const image = await bench.run(['run', '--progress=plain', 'app.ts']);
    expect([image.status, image.stdout]).toEqual([0, 'in the image\n']);
    const called = await bench.run(['run', '--progress=plain', 'app.ts::remote', '--', '1', '2']);
    expect(JSON.parse(called.stdout)).toMatchObject({ sum: 3 });
  });

  test.skipIf(lacks('newuidmap')).each([
    ['with subordinate ids', true],
    ['with one id', false],
  ])('a user without privileges, %s, calls functions too', async (_, subordinateIds) => {
    using account = makeAccount({ subordinateIds });
    const tsbuild = installTsbuild(join(account.home, 'package'));
    writeFileSync(join(account.home, 'app.ts'), APP);
    const setting = { tsbuild, account, env: { TSBUILD_HOME: join(account.home, 'store') } };
    const ran = await succeed(['run', '--progress=plain', 'app.ts::remote', '--', '1', '2'], setting);
    expect(JSON.parse(ran.stdout)).toEqual({ sum: 3, name: 'in the image' });
  });

  test('tsbuild build builds every image of the app (C137)', async () => {
    using bench = new Workbench();
    bench.write({ 'app.ts': APP });
    const built = await bench.build(['app.ts', '--metadata-file', 'metadata.json']);
    expect(built.stderr).not.toContain('error');
    expect(built.status).toBe(0);
    expect(new Set(built.stdout.match(/sha256:[a-f0-9]{64}/g)).size).toBe(2);
    const again = await bench.run(['image', 'list']);
    expect(again.status).toBe(0);
    expect(readFileSync(bench.at('metadata.json'), 'utf8')).toContain('sha256:');
  });
});
