/** Files of build contexts in plans: what Dockerfiles and lines of them use. */
import type { Platform } from '../../oci/platform.ts';
import type { DockerfileDeclaration } from '../dockerfile/declaration.ts';
import type { RequestWarning } from '../dockerfile/request-warnings.ts';
import { ConfigState } from './config-state.ts';
import type { LayerDefinition } from './layer-definition.ts';
import type { InputEntry } from './local-input.ts';

export interface PlannedContext {
  /** By path in the context. A path that ends in `/` is an empty directory; `name:/path` is in a named context. */
  readonly files: ReadonlyMap<string, Omit<InputEntry, 'sizeBytes'> & Located>;
  /** Those of `contextFiles`. */
  readonly given: ReadonlyMap<string, InputEntry & Located>;
  readonly warnings: readonly RequestWarning[];
  /** Of the ignore file or the option. */
  readonly rootOnlyPatterns: readonly string[];
  /** False: what an instruction takes depends on a base of which nothing is known here. */
  readonly complete: boolean;
}

interface Located {
  /** On this machine; absent for links. */
  readonly hostPath?: string;
}

/** Implemented by the engine. Uses no network. */
export type ContextsOf = (
  declaration: DockerfileDeclaration,
  options: {
    readonly platform: Platform;
    /** Whether `FROM base` means what the chain has come to. */
    readonly continues: boolean;
    /** What the chain itself has set so far. */
    readonly environment: ReadonlyMap<string, string>;
    /** Position of the call in the chain. */
    readonly layer: number;
  },
) => Promise<PlannedContext>;

/** The Dockerfile that a call brings. */
export function declarationOf({ base, steps }: LayerDefinition): DockerfileDeclaration | undefined {
  const [only] = steps;
  return base?.kind === 'dockerfile'
    ? base.declaration
    : only?.kind === 'dockerfile'
      ? only.declaration
      : undefined;
}

/** By position of the call; only of those that bring a Dockerfile. */
export async function planContexts(
  layers: readonly LayerDefinition[],
  platform: Platform,
  contextsOf: ContextsOf,
): Promise<ReadonlyMap<number, PlannedContext>> {
  const planned = new Map<number, PlannedContext>();
  const state = new ConfigState({});
  for (const [layer, definition] of layers.entries()) {
    const declaration = declarationOf(definition);
    if (declaration !== undefined) {
      const environment = new Map(state.environment);
      const continues = definition.base?.kind !== 'dockerfile';
      const options = { platform, continues, environment, layer };
      planned.set(layer, await contextsOf(declaration, options));
    }
    for (const step of definition.steps) {
      if (step.kind === 'config') {
        state.apply(step.change);
      }
    }
  }
  return planned;
}
