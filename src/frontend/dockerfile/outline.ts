/** What a target takes: ARGs, secrets, agents. For `--call=outline`. */
import type { Location } from './instruction.ts';
import type { StageNode } from './stage-graph.ts';

export interface OutlineArg {
  readonly name: string;
  /** With the build args given. */
  readonly value?: string;
  readonly description?: string;
  readonly location: Location;
}

export interface OutlineUse {
  readonly id: string;
  readonly required: boolean;
  readonly location: Location;
}

export interface OutlineFacts {
  /** Of the target. */
  readonly name: string;
  readonly description?: string;
  readonly args: readonly OutlineArg[];
  readonly secrets: readonly OutlineUse[];
  readonly ssh: readonly OutlineUse[];
}

interface StageFacts {
  readonly args: Map<string, OutlineArg>;
  readonly used: Set<string>;
  readonly secrets: Map<string, OutlineUse>;
  readonly ssh: Map<string, OutlineUse>;
}

export class Outline {
  readonly #global = new Map<string, OutlineArg>();
  readonly #stages = new Map<StageNode, StageFacts>();

  /** An ARG before the first FROM. */
  declare(name: string, value: string | undefined, location: Location, description?: string): void {
    this.#global.set(name, argFacts(name, value, location, description));
  }

  declareIn(
    node: StageNode,
    name: string,
    value: string | undefined,
    location: Location,
    description?: string,
  ): void {
    this.#of(node).args.set(name, argFacts(name, value, location, description));
  }

  use(node: StageNode, name: string): void {
    this.#of(node).used.add(name);
  }

  useSecret(node: StageNode, id: string, required: boolean, location: Location): void {
    addUse(this.#of(node).secrets, id, required, location);
  }

  useSsh(node: StageNode, id: string, required: boolean, location: Location): void {
    addUse(this.#of(node).ssh, id, required, location);
  }

  /** Of `target` and of the stages that it needs, in the order of the file. */
  facts(target: StageNode, needed: ReadonlySet<StageNode>): OutlineFacts {
    const stages = [...needed].map((node) => this.#of(node));
    const args = new Map<string, OutlineArg>();
    for (const { args: own, used } of stages) {
      for (const name of used) {
        const found = own.get(name) ?? this.#global.get(name);
        if (found !== undefined) {
          args.set(name, found);
        }
      }
    }
    const merged = (pick: (facts: StageFacts) => ReadonlyMap<string, OutlineUse>) => [
      ...new Map(stages.flatMap((facts) => [...pick(facts)])).values(),
    ];
    const { description } = target.from;
    return {
      name: target.name ?? 'default',
      ...(description === undefined ? {} : { description }),
      args: inOrder([...args.values()]),
      secrets: inOrder(merged(({ secrets }) => secrets)),
      ssh: inOrder(merged(({ ssh }) => ssh)),
    };
  }

  #of(node: StageNode): StageFacts {
    let facts = this.#stages.get(node);
    if (facts === undefined) {
      facts = { args: new Map(), used: new Set(), secrets: new Map(), ssh: new Map() };
      this.#stages.set(node, facts);
    }
    return facts;
  }
}

function argFacts(
  name: string,
  value: string | undefined,
  location: Location,
  description: string | undefined,
): OutlineArg {
  return {
    name,
    location,
    ...(value === undefined ? {} : { value }),
    ...(description === undefined ? {} : { description }),
  };
}

function addUse(uses: Map<string, OutlineUse>, id: string, required: boolean, location: Location): void {
  if (!uses.has(id)) {
    uses.set(id, { id, required, location });
  }
}

function inOrder<T extends { readonly location: Location }>(facts: readonly T[]): readonly T[] {
  return facts.toSorted((left, right) => left.location.startLine - right.location.startLine);
}
