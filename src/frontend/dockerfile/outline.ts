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
  /** Of the target, if it has one. */
  readonly name?: string;
  readonly description?: string;
  readonly args: readonly OutlineArg[];
  readonly secrets: readonly OutlineUse[];
  readonly ssh: readonly OutlineUse[];
}

/** An ARG with what it came to. */
export interface DeclaredArg {
  readonly name: string;
  readonly value: string | undefined;
  readonly location: Location;
  readonly description: string | undefined;
  /** Other ARGs that its default is made of. */
  readonly uses: readonly string[];
}

interface StageFacts {
  readonly args: Map<string, DeclaredArg>;
  readonly used: Set<string>;
  readonly secrets: Map<string, OutlineUse>;
  readonly ssh: Map<string, OutlineUse>;
}

export class Outline {
  readonly #global = new Map<string, DeclaredArg>();
  readonly #stages = new Map<StageNode, StageFacts>();

  /** An ARG before the first FROM. */
  declare(arg: DeclaredArg): void {
    this.#global.set(arg.name, arg);
  }

  declareIn(node: StageNode, arg: DeclaredArg): void {
    this.#of(node).args.set(arg.name, arg);
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
    const args = new Map<string, DeclaredArg>();
    const add = (name: string, own: ReadonlyMap<string, DeclaredArg>): void => {
      const found = own.get(name) ?? this.#global.get(name);
      if (found !== undefined && args.get(name) !== found) {
        args.set(name, found);
        for (const other of found.uses) {
          add(other, own);
        }
      }
    };
    for (const { args: own, used } of stages) {
      for (const name of used) {
        add(name, own);
      }
    }
    const merged = (pick: (facts: StageFacts) => ReadonlyMap<string, OutlineUse>) => {
      const uses = new Map<string, OutlineUse>();
      for (const { id, required, location } of stages.flatMap((facts) => [...pick(facts).values()])) {
        addUse(uses, id, required, location);
      }
      return inOrder([...uses.values()]);
    };
    const { name } = target;
    const { description } = target.from;
    return {
      ...(name === undefined ? {} : { name }),
      ...(description === undefined ? {} : { description }),
      args: inOrder([...args.values()].map(argFacts)),
      secrets: merged(({ secrets }) => secrets),
      ssh: merged(({ ssh }) => ssh),
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

function argFacts({ name, value, location, description }: DeclaredArg): OutlineArg {
  return {
    name,
    location,
    ...(value === undefined ? {} : { value }),
    ...(description === undefined ? {} : { description }),
  };
}

/** The first use is the one that is shown; one that needs it is enough. */
function addUse(uses: Map<string, OutlineUse>, id: string, required: boolean, location: Location): void {
  const before = uses.get(id);
  const first =
    before === undefined || location.startLine < before.location.startLine ? location : before.location;
  uses.set(id, { id, required: required || before?.required === true, location: first });
}

function inOrder<T extends { readonly location: Location }>(facts: readonly T[]): readonly T[] {
  return facts.toSorted((left, right) => left.location.startLine - right.location.startLine);
}
