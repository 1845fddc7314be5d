import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Integration tests share two cores with real sandboxes, registries and compilers.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
