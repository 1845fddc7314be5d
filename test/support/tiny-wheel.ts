/** A Python wheel of one module, made in memory: for installs that need no index. */
import { zip } from './zip.ts';

export interface TinyWheel {
  readonly fileName: string;
  readonly bytes: Buffer;
}

/** @param name - Of the project and of its module, which has `VERSION`; a Python identifier. */
export function tinyWheel(name: string, version: string): TinyWheel {
  const info = `${name}-${version}.dist-info`;
  const files = {
    [`${name}.py`]: `VERSION = ${JSON.stringify(version)}\n`,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
    [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  };
  const record = [...Object.keys(files), `${info}/RECORD`].map((path) => `${path},,\n`).join('');
  const entries = Object.entries({ ...files, [`${info}/RECORD`]: record });
  return {
    fileName: `${name}-${version}-py3-none-any.whl`,
    bytes: zip(entries.map(([path, content]) => ({ name: path, content }))),
  };
}
