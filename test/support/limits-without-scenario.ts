/** What becomes of limits where no control group can be had. Prints JSON. */
import { Engine, type EngineOptions } from '../../src/engine.ts';
import { TsbuildError } from '../../src/errors.ts';
import type { BuildEvent } from '../../src/solver/event.ts';
import { busyboxImage } from './busybox.ts';

const [storeDir = ''] = process.argv.slice(2);
const events: BuildEvent[] = [];
const open = (options: EngineOptions = {}) =>
  Engine.open({
    storeDir,
    env: { PATH: process.env.PATH },
    hostCa: 'never',
    memoryBytes: 64 * 1024 ** 2,
    pidsLimit: 10,
    onEvent: (event) => events.push(event),
    ...options,
  });
const image = busyboxImage();
const results: Record<string, unknown> = {};
{
  await using engine = await open();
  const { stdout } = await engine.run(image, ['sh', '-c', 'echo ran']);
  await engine.build([image.runCommands('true')], { ignoreCache: true });
  results.ran = String(stdout).trim();
  results.warnings = events.flatMap((event) =>
    event.kind === 'warning' && event.code !== 'W_ISOLATION_SINGLE_ID' ? [event.message] : [],
  );
}
{
  await using engine = await open({ limitsPolicy: 'require' });
  results.required = await engine.run(image, ['true']).then(
    () => 'ran',
    (error) => (error instanceof TsbuildError ? { code: error.code, hint: error.hint } : String(error)),
  );
}
console.log(JSON.stringify(results));
