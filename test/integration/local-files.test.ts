/** Files of the user's in containers and layers, by the real engine. */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';
import { busyboxImage } from '../support/busybox.ts';
import { pythonImage } from '../support/python-image.ts';
import { lacks } from '../support/requires.ts';
import { Workbench } from '../support/workbench.ts';

describe.skipIf(lacks('root', 'bwrap', 'busybox', 'python3'))('local files', () => {
  let bench: Workbench;
  let engine: Engine;

  beforeAll(async () => {
    bench = new Workbench();
    engine = await Engine.open({
      storeDir: bench.at('store'),
      env: { PATH: process.env.PATH, HOME: bench.directory },
    });
  });
  afterAll(async () => {
    await engine?.[Symbol.asyncDispose]();
    bench?.[Symbol.dispose]();
  });

  const shell = async (image: Image, script: string) =>
    (await engine.run(image, ['/bin/sh', '-c', script], {})).stdout;

  test('a directory and files are visible in the container (C79) (C80)', async () => {
    bench.write({ 'aws/config': 'region', 'aws/sub/credentials': 'key', 'model.py': 'model' });
    const image = busyboxImage()
      .addLocalDir(bench.at('aws'), '/root/.aws')
      .addLocalFile(bench.at('model.py'), '/app/model.py')
      .addLocalFile(bench.at('model.py'), '/other/');
    expect(
      await shell(image, 'cat /root/.aws/config /root/.aws/sub/credentials /app/model.py /other/model.py'),
    ).toBe('regionkeymodelmodel');
  });

  test('files are read at each start: an edit needs no rebuild, and the container cannot write them (C78) (C82) (C85)', async () => {
    bench.write({ 'live/data': 'one' });
    const image = busyboxImage()
      .addLocalDir(bench.at('live'), '/data')
      .addLocalFile(bench.at('live/data'), '/two');
    expect(await shell(image, 'cat /data/data; echo no > /data/data; echo no > /two; rm /data/data')).toBe(
      'one',
    );
    expect(readFileSync(bench.at('live/data'), 'utf8')).toBe('one');
    const { id } = image;
    expect(id).toBe((await engine.build([busyboxImage()]))[0]?.id);
    writeFileSync(bench.at('live/data'), 'two');
    const events: string[] = [];
    const { stdout } = await engine.run(image, ['/bin/sh', '-c', 'cat /data/data'], {
      logger: (event) => events.push(event.kind === 'vertex-finished' ? event.outcome : ''),
    });
    expect(stdout).toBe('two');
    expect(events).not.toContain('done');
    expect(image.id).toBe(id);
  });

  test('later mounts come over earlier ones, and over files of the image (B10)', async () => {
    bench.write({ 'o/first': '1', 'o/second': '2', 'dir/f': 'of the mount' });
    const image = busyboxImage()
      .runCommands('mkdir -p /dir && echo kept > /dir/kept && echo old > /dir/f')
      .addLocalFile(bench.at('o/first'), '/x')
      .addLocalFile(bench.at('o/second'), '/x')
      .addLocalDir(bench.at('dir'), '/dir');
    expect(await shell(image, 'cat /x /dir/f /dir/kept')).toBe('2of the mountkept\n');
  });

  test('what is exported has one layer more, with the files (C86)', async () => {
    bench.write({ 'late/a': 'a', 'mod/exported.py': 'x = 1\n' });
    const plain = busyboxImage();
    const image = plain
      .addLocalDir(bench.at('late'), '/late')
      .addLocalPythonSource('exported', { searchPaths: [bench.at('mod')] });
    const [built] = await engine.build([plain]);
    await engine.exportTo(image, bench.at('out'), { format: 'oci-layout' });
    const exported = Image.fromOciLayout(bench.at('out'));
    const [imported] = await engine.build([exported]);
    expect(imported?.config.rootfs.diff_ids).toHaveLength((built?.config.rootfs.diff_ids.length ?? 0) + 1);
    expect((await engine.readFile(exported, '/late/a')).toString()).toBe('a');
    expect((await engine.readFile(exported, '/root/exported.py')).toString()).toBe('x = 1\n');
    // Nothing but the files that are exported makes Python find them, so the configuration says so.
    expect(imported?.config.config?.Env).toContain('PYTHONPATH=/root');
    expect((await engine.build([image]))[0]?.config.config?.Env).toEqual(['PATH=/bin']);
    const asFile = plain
      .addLocalDir(bench.at('late'), '/late')
      .addLocalFile(bench.at('mod/exported.py'), '/root/exported.py');
    await engine.exportTo(asFile, bench.at('as-file'), { format: 'oci-layout' });
    const [other] = await engine.build([Image.fromOciLayout(bench.at('as-file'))]);
    expect(other?.config.config?.Env).toEqual(['PATH=/bin']);
  });

  test('Python finds modules from any directory, mounted or copied (C87)', async () => {
    bench.write({
      'src/my_module.py': 'import my_package.inner\nname = my_package.inner.name\n',
      'src/my_package/__init__.py': '',
      'src/my_package/inner.py': "name = 'inner'\n",
      'opt/elsewhere.py': "also = 'found'\n",
    });
    const program = 'import my_module, elsewhere; print(my_module.name, elsewhere.also)';
    const python = pythonImage()
      .copyLocalFile(bench.at('opt/elsewhere.py'), '/opt/lib/elsewhere.py')
      .env({ PYTHONPATH: '/opt/lib' });
    const searchPaths = [bench.at('src')];
    const mounted = python.addLocalPythonSource('my_module', 'my_package', { searchPaths });
    const copied = python.addLocalPythonSource('my_module', 'my_package', { searchPaths, copy: true });
    for (const image of [mounted, copied]) {
      for (const workdir of ['/', '/bin']) {
        const ran = await engine.run(image, ['python', '-c', program], { workdir });
        expect(ran).toMatchObject({ exitCode: 0, stdout: 'inner found\n' });
      }
    }
    const [built] = await engine.build([copied]);
    expect(built?.config.config?.Env).toContain('PYTHONPATH=/root:/opt/lib');
    const without = await engine.run(python, ['python', '-c', 'import my_module'], {});
    expect(without.stderr).toContain("No module named 'my_module'");
  });

  test('the command looks beside the definition file first (C90)', async () => {
    bench.write({
      'recipes/beside.py': 'x',
      'recipes/image.ts': [
        "import { Image } from 'tsbuild';",
        "export default Image.fromScratch().addLocalPythonSource('beside');",
      ].join('\n'),
    });
    const ran = await bench.run(['plan', '--json', 'recipes/image.ts']);
    expect(ran.stderr).toBe('');
    expect(Object.keys(JSON.parse(ran.stdout).default.mounts[0].files)).toEqual(['/root/beside.py']);
  });

  test('a file that changes while a build runs is an error, or a warning in the result', async () => {
    bench.write({ 'watched/one': '1', 'watched/late': 'x' });
    const late = bench.at('watched/late');
    // The filter is asked after the build began, before the files are opened.
    const make = (text: string) =>
      busyboxImage().copyLocalDir(bench.at('watched'), '/w', {
        condition: (path) => {
          if (path === 'one') {
            // The kernel's time of files lags behind by up to a tick, 10 ms.
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
            writeFileSync(late, text);
          }
          return true;
        },
      });
    await expect(engine.build([make('a')])).rejects.toMatchObject({ code: 'E_FILE_CHANGED_DURING_BUILD' });
    await using lenient = await Engine.open({
      storeDir: bench.at('store'),
      env: { PATH: process.env.PATH, HOME: bench.directory, TSBUILD_BUILD_VALIDATION: 'warn' },
    });
    const [built] = await lenient.build([make('b')]);
    expect(built?.diagnostics).toEqual([
      { code: 'W_FILE_CHANGED_DURING_BUILD', message: expect.stringContaining(late) },
    ]);
  });

  test('copies land where the call says, by default at the same path (C92) (C93) (C94)', async () => {
    bench.write({
      'work/requirements.txt': 'r',
      'work/.env.production': 'env',
      'work/src/a.py': 'a',
      'work/src/deep/b.py': 'b',
    });
    const cwd = process.cwd();
    process.chdir(bench.at('work'));
    let image: Image;
    try {
      image = busyboxImage()
        .workdir('/w')
        .copyLocalFile('requirements.txt')
        .copyLocalFile('.env.production', '/app/.env')
        .copyLocalDir('./src', '/app/src')
        .runCommands('ls -A /app > /listing');
    } finally {
      process.chdir(cwd);
    }
    expect(
      await shell(image, 'cat /w/requirements.txt /app/.env /app/src/a.py /app/src/deep/b.py /listing'),
    ).toBe('renvab.env\nsrc\n');
  });
});
