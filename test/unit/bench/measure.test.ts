import { expect, test } from 'vitest';
import { Hung, timeCommand } from '../../../bench/compare/measure.ts';

test('a command that hangs is ended with what it started', async () => {
  const start = performance.now();
  const argv = ['sh', '-c', 'sleep 60 & wait'] as const;
  await expect(timeCommand({ argv, env: { PATH: process.env.PATH } }, 200)).rejects.toThrow(Hung);
  // The one below holds standard error open.
  expect(performance.now() - start).toBeLessThan(30_000);
});
