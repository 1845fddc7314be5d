/**
 * Assembles a Debian base in a store, whatever its cache says, and nothing else: no layer is compressed.
 *
 *   node bench/build/debian-base.ts SUITE STORE
 */
import { Engine } from '../../src/engine.ts';
import { Image } from '../../src/frontend/fluent/image.ts';

const [suite = 'trixie', storeDir = ''] = process.argv.slice(2);
if (storeDir === '') {
  console.error('usage: node bench/build/debian-base.ts SUITE STORE');
  process.exit(2);
}
await using engine = await Engine.open({ storeDir, env: { ...process.env, TSBUILD_IGNORE_CACHE: '1' } });
if (!(await engine.exists(Image.fromDebian({ suite }), '/usr/bin/apt-get'))) {
  throw new Error('the base lacks apt');
}
