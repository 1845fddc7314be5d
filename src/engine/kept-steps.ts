/**
 * Failed steps that were kept: `failed/ID.json` says what ran, and the layer `failed-ID` is what it left. They are in no cache and no
 * image; `prune` removes them, and so does whoever keeps or opens one later than a week after.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../errors.ts';
import type { ExecAction, Mount } from '../graph/action.ts';
import type { StepToKeep } from '../ops/failing-step.ts';
import type { LayerId } from '../solver/op.ts';
import { shellCommand } from '../worker/failed-step-session.ts';
import type { StepInput, VolumeUse } from '../worker/protocol.ts';
import type { EngineParts } from './parts.ts';

/** What {@link KeptSteps} reads back. */
export interface KeptStep {
  readonly version: 1;
  readonly id: string;
  readonly timeMs: number;
  readonly label: string;
  /** As a shell takes it. */
  readonly command: string;
  /** The last one is what the step left. */
  readonly layers: readonly LayerId[];
  readonly action: ExecAction;
  readonly inputs: readonly StepInput[];
  readonly volumes: Readonly<Record<string, VolumeUse>>;
  /** What the step had and is not kept, for people. */
  readonly missing: readonly string[];
}

const VERSION = 1;
export const KEPT_FOR_DAYS = 7;
const KEPT_FOR_MS = KEPT_FOR_DAYS * 24 * 60 * 60 * 1000;
const ID = /^[0-9a-f]{12}$/;
const PREFIX = 'failed:';

export class KeptSteps {
  readonly #parts: EngineParts;
  readonly #dir: string;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#dir = join(parts.store.dir, 'failed');
  }

  static layerName(): LayerId {
    return `failed-${randomBytes(6).toString('hex')}` as LayerId;
  }

  /** @returns What people call it. */
  async keep(step: StepToKeep, signal: AbortSignal): Promise<string> {
    const { store } = this.#parts;
    const { layer, parents, label } = step;
    const id = layer.slice('failed-'.length);
    const layers = [...parents, layer];
    const record: KeptStep = {
      version: VERSION,
      id,
      timeMs: this.#parts.now(),
      label,
      command: shellCommand(step.action.argv),
      layers,
      ...withoutSecrets(step),
    };
    store.layers.put(layer, parents, true);
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    const path = join(this.#dir, `${id}.json`);
    writeFileSync(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${path}.tmp`, path);
    await this.expire(signal).catch(() => {
      // What the build fails with is the step's error; the next one tries again.
    });
    return `${PREFIX}${id}`;
  }

  /** Those that are there, newest first. */
  list(): readonly KeptStep[] {
    const found: KeptStep[] = [];
    for (const name of namesIn(this.#dir)) {
      const path = join(this.#dir, name);
      const step = JSON.parse(readFileSync(path, 'utf8')) as KeptStep;
      if (step.version !== VERSION) {
        continue;
      }
      if (step.layers.every((layer) => this.#parts.store.layers.get(layer) !== undefined)) {
        found.push(step);
      } else {
        // Somebody has pruned.
        rmSync(path, { force: true });
      }
    }
    return found.toSorted((left, right) => right.timeMs - left.timeMs);
  }

  /** @param name - `failed:ID`, `failed:latest`, or without the prefix. @throws {UsageError} `E_FAILED_STEP_NOT_FOUND` */
  find(name: string): KeptStep {
    const id = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name;
    const kept = this.list();
    const step = id === 'latest' ? kept[0] : kept.find((each) => each.id === id);
    if (step === undefined) {
      const near = kept.slice(0, 5).map((each) => `${PREFIX}${each.id}`);
      throw new UsageError(`no failed step '${PREFIX}${id}' is kept in the store`, {
        code: 'E_FAILED_STEP_NOT_FOUND',
        hint: near.length === 0 ? 'build with --on-error=keep' : `kept are ${near.join(', ')}`,
      });
    }
    return step;
  }

  /** Removes those that were kept for long enough. */
  async expire(signal: AbortSignal): Promise<void> {
    const old = this.list().filter(({ timeMs }) => timeMs < this.#parts.now() - KEPT_FOR_MS);
    if (old.length === 0) {
      return;
    }
    const layers = old.flatMap((step) => step.layers.slice(-1));
    const { db } = this.#parts.store.meta;
    for (const [index, step] of old.entries()) {
      db.prepare('DELETE FROM layers WHERE id = ?').run(layers[index] ?? '');
      rmSync(join(this.#dir, `${step.id}.json`), { force: true });
    }
    await (await this.#parts.worker()).call('removeLayers', { layers }, { signal });
  }
}

/** Of another process that was killed there may be more than records. */
function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir).filter((name) => ID.test(name.replace(/\.json$/, '')));
  } catch {
    return [];
  }
}

/** What of a step may be on disk, and can be had again. */
function withoutSecrets({
  action,
  inputs,
  volumes,
}: StepToKeep): Pick<KeptStep, 'action' | 'inputs' | 'volumes' | 'missing'> {
  const missing: string[] = action.secretEnv.map((variable) =>
    'name' in variable ? `the secret variable ${variable.name}` : 'the variables of a secret',
  );
  const isLayers = (input: number) => inputs[input]?.kind === 'layers';
  const mounts: Mount[] = [];
  for (const mount of action.mounts) {
    switch (mount.kind) {
      case 'secret':
        missing.push(`the secret on ${mount.target}`);
        break;
      case 'ssh':
        missing.push(`the ssh agent on ${mount.target}`);
        break;
      case 'bind':
        if (isLayers(mount.input)) {
          mounts.push(mount);
        } else {
          missing.push(`the local files on ${mount.target}`);
        }
        break;
      case 'cache': {
        const { seed, ...rest } = mount;
        mounts.push(seed !== undefined && isLayers(seed.input) ? mount : rest);
        break;
      }
      case 'volume':
        if (volumes[mount.volume]?.place.kind === 'ephemeral') {
          missing.push(`the volume on ${mount.target}, which has no name`);
        } else {
          mounts.push(mount);
        }
        break;
      case 'tmpfs':
        missing.push(`what was on ${mount.target}, which is in memory`);
        mounts.push(mount);
        break;
      default:
        mounts.push(mount);
    }
  }
  const { call, proxyEnv: _credentials, requiredVariables: _required, ...plain } = action;
  if (call !== undefined) {
    missing.push('the function and its arguments');
  }
  return {
    action: { ...plain, secretEnv: [], mounts },
    inputs: inputs.map((input) => (input.kind === 'layers' ? input : { kind: 'none' })),
    volumes,
    missing,
  };
}
