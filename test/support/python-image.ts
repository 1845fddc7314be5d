/** An image with this machine's own Python: the interpreter, the libraries that it is linked with, and modules to start it. */
import { execFileSync } from 'node:child_process';
import type { Image } from '../../src/frontend/fluent/image.ts';
import { busyboxImage } from './busybox.ts';

const MODULES = /^([a-z_]+\.py|(encodings|collections|importlib|re|json)\/.*\.py)$/;

/** `python` is on PATH, and so is the shell of busybox. */
export function pythonImage(): Image {
  const text = execFileSync(
    'python3',
    ['-c', "import sys, sysconfig; print(sys.executable); print(sysconfig.get_paths()['stdlib'])"],
    { encoding: 'utf8' },
  );
  const [executable = '', library = ''] = text.split('\n');
  const libraries = execFileSync('ldd', [executable], { encoding: 'utf8' })
    .split('\n')
    .flatMap((line) => /(\/\S+) \(/.exec(line)?.[1] ?? []);
  let image = busyboxImage();
  for (const path of libraries) {
    image = image.copyLocalFile(path);
  }
  return image
    .copyLocalDir(library, undefined, { condition: (path) => MODULES.test(path) })
    .copyLocalFile(executable)
    .runCommands(`ln -s ${executable} /bin/python`);
}
