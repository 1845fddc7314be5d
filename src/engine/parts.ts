import type { SqliteCache } from '../cache/sqlite-cache.ts';
import type { LayerStore } from '../layer/layer-store.ts';
import type { SecretSources } from '../secret/secret.ts';
import type { Settings } from '../settings.ts';
import type { BuildEvent } from '../solver/event.ts';
import type { Worker } from '../worker/protocol.ts';
import type { Programs } from './programs.ts';
import type { Registries } from './registries.ts';
import type { SecretFiles } from './secret-files.ts';
import type { Store } from './store.ts';
import type { Volumes } from './volumes.ts';

/** What an engine is made of; handed to those who do its work. */
export interface EngineParts {
  readonly store: Store;
  readonly layers: LayerStore;
  readonly cache: SqliteCache;
  readonly registries: Registries;
  readonly volumes: Volumes;
  readonly secrets: SecretFiles;
  /** Where values of secrets come from. */
  readonly secretSources: SecretSources;
  readonly settings: Settings;
  readonly programs: Programs;
  readonly environment: NodeJS.ProcessEnv;
  readonly jobs: number;
  /** Starts the worker the first time that it is called. */
  readonly worker: () => Promise<Worker>;
  readonly onEvent: (event: BuildEvent) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}
