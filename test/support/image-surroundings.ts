/** Surroundings for plans and graphs that need no machine: fixed settings, no host Python, bases made up here. */

import { sha256Hex } from '../../src/base/sha256.ts';
import type { Image } from '../../src/frontend/fluent/image.ts';
import type { PlanOptions } from '../../src/frontend/fluent/image-engine.ts';
import type { PlanSurroundings } from '../../src/frontend/fluent/plan.ts';
import { planImage } from '../../src/frontend/fluent/plan.ts';
import type { ConfigResolver, GraphSurroundings } from '../../src/frontend/fluent/to-graph.ts';
import { toGraph } from '../../src/frontend/fluent/to-graph.ts';
import { FunctionReader } from '../../src/local/read-function.ts';
import { scanInput } from '../../src/local/scan-input.ts';
import { sha256Digest } from '../../src/oci/digest.ts';
import type { ContainerConfig, ImageConfig } from '../../src/oci/image-config.ts';
import { type Environment, readSettings } from '../../src/settings.ts';
import { MemoryStatCache, plainScan } from './plain-scan.ts';

export interface Surroundings {
  readonly env?: Environment;
  readonly hostPython?: string;
  /** Configuration of every base image. */
  readonly base?: ContainerConfig;
}

export function baseImageConfig(config: ContainerConfig = {}): ImageConfig {
  return {
    architecture: 'amd64',
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: [sha256Digest(sha256Hex('base layer'))] },
    history: [{ created_by: 'base' }],
  };
}

export function surroundings(given: Surroundings = {}): PlanSurroundings & GraphSurroundings {
  const statCache = new MemoryStatCache();
  const config = baseImageConfig(given.base);
  const resolver: ConfigResolver = {
    resolveImage: async (reference) => ({ manifestDigest: sha256Digest(sha256Hex(reference)), config }),
    resolveStored: () => ({
      id: `im-${'0'.repeat(22)}`,
      platform: { os: 'linux', architecture: 'amd64' },
      layers: ['layer'],
      config,
    }),
    resolveOciLayout: async () => ({ manifestDigest: sha256Digest(sha256Hex('layout')), config }),
  };
  return {
    settings: readSettings({ HOME: '/home/nobody', ...given.env }),
    platform: 'linux/amd64',
    hostPython: async () => given.hostPython,
    scan: (input) =>
      scanInput(input, { native: plainScan, statCache, now: () => BigInt(Date.now()) * 1_000_000n }),
    resolver,
    readDockerfile: async ({ file }) => (file.kind === 'text' ? file : undefined),
    contextsOf: async () => ({
      files: new Map(),
      given: new Map(),
      warnings: [],
      rootOnlyPatterns: [],
      complete: true,
    }),
    convertDockerfile: async () => {
      throw new Error('these surroundings know no Dockerfiles');
    },
    readFunction: (carried) => new FunctionReader(given.env ?? {}).read(carried),
    resolveOciLayout: resolver.resolveOciLayout,
  };
}

export function planOf(image: Image, given: Surroundings = {}, options: PlanOptions = {}) {
  return planImage(image, options, surroundings(given));
}

export function graphOf(image: Image, given: Surroundings = {}, options: PlanOptions = {}) {
  return toGraph(image, options, surroundings(given));
}

/** Lines of the newest layer. */
export async function lastLines(image: Image, given: Surroundings = {}): Promise<readonly string[]> {
  return (await planOf(image, given)).layers.at(-1)?.commands ?? [];
}
