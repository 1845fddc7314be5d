import { expect, it } from 'vitest';
import { BUILDER_VERSION_OPTION } from '../../../src/cli/shared-options.ts';
import { BUILDER_VERSIONS } from '../../../src/frontend/fluent/builder-version.ts';
import { cli } from '../../support/cli.ts';

it('--builder-version reaches the engine, and knows every version', async () => {
  const { calls } = await cli(['run', 'web:1', '--builder-version', '2025.06', '--', 'x']);
  expect(calls.opened).toMatchObject({ builderVersion: '2025.06' });
  expect((await cli(['run', 'web:1', '--', 'x'])).calls.opened).not.toHaveProperty('builderVersion');
  expect((await cli(['run', 'web:1', '--builder-version', '2024.01'])).status).toBe(2);
  expect([...(BUILDER_VERSION_OPTION.words ?? [])].sort()).toEqual(Object.keys(BUILDER_VERSIONS).sort());
});
