/**
 * The stages of a Dockerfile and which of them need which: names, numbers, `--from`, mounts, triggers of ONBUILD. Nothing
 * is converted here.
 */
import { nearName } from '../../base/near-name.ts';
import type { Platform } from '../../oci/platform.ts';
import { stageError } from './definition-place.ts';
import type {
  FromInstruction,
  Location,
  OnbuildInstruction,
  RunInstruction,
  Stage,
  StageInstruction,
} from './instruction.ts';
import { parseInstructions } from './parse.ts';
import { mountFrom } from './run-mount.ts';

/** An instruction of a stage with the stages that it reads. */
export interface StageCommand {
  readonly instruction: StageInstruction;
  /** A trigger of the base. */
  readonly onbuild: boolean;
  /** Of the stage's commands, from 1; those of triggers come first. */
  readonly position: string;
  /** `--from`, or one for each mount that has a `from`. */
  readonly sources: readonly (StageNode | undefined)[];
}

/** A stage, or an image or context that something copies from. */
export class StageNode {
  readonly index: number;
  readonly from: FromInstruction;
  /** Lower case; undefined for a stage without. */
  readonly name: string | undefined;
  /** After expansion: `scratch`, the name of an image or context. */
  readonly base: string;
  readonly platform: Platform | undefined;
  /** The stage that this one is FROM. */
  parent: StageNode | undefined;
  /** Not a stage of the file: something that `--from` names. */
  readonly external: boolean;
  commands: StageCommand[] = [];
  /** Which steps progress counts. */
  stepCount = 0;
  forced = false;
  shownName: string;
  triggersAdded = false;

  constructor(options: {
    readonly index: number;
    readonly from: FromInstruction;
    readonly base: string;
    readonly platform: Platform | undefined;
    readonly external: boolean;
  }) {
    this.index = options.index;
    this.from = options.from;
    this.base = options.base;
    this.platform = options.platform;
    this.external = options.external;
    this.name = options.from.stageName?.toLowerCase();
    this.shownName = this.name ?? `stage-${options.index}`;
  }

  get location(): Location {
    return this.from.location;
  }

  needs(): StageNode[] {
    const needed = this.commands.flatMap(({ sources }) => sources.filter((each) => each !== undefined));
    return this.parent === undefined ? needed : [this.parent, ...needed];
  }
}

const COUNTED: ReadonlySet<StageInstruction['kind']> = new Set(['add', 'copy', 'run', 'workdir']);

export class StageGraph {
  /** Stages in the order of the file; what `--from` names besides comes before the stage that named it. */
  readonly nodes: StageNode[] = [];
  readonly #byName = new Map<string, StageNode>();
  readonly #externals = new Map<string, StageNode>();
  readonly #aliases: ReadonlyMap<string, string>;
  readonly #located: (error: unknown, location: Location) => unknown;
  readonly #file: string;

  /**
   * @param aliases - Named contexts that are stages: what is named, to the stage's name; lower case.
   * @param located - Gives an error its place in the file.
   * @param file - What errors call the file.
   */
  constructor(
    aliases: ReadonlyMap<string, string>,
    located: (error: unknown, location: Location) => unknown,
    file: string,
  ) {
    this.#file = file;
    this.#aliases = aliases;
    this.#located = located;
  }

  /** Adds the next stage of the file. A later stage of the same name hides the earlier one for what follows. */
  addStage(
    stage: Stage,
    base: string,
    platform: Platform | undefined,
    options: { readonly replaced: boolean },
  ): StageNode {
    const node = new StageNode({
      index: this.nodes.length,
      from: stage.from,
      base,
      platform,
      external: false,
    });
    if (!options.replaced) {
      node.parent = this.find(base);
    }
    this.nodes.push(node);
    if (node.name !== undefined) {
      this.#byName.set(node.name, node);
    }
    return node;
  }

  find(name: string): StageNode | undefined {
    const lower = name.toLowerCase();
    return this.#byName.get(this.#aliases.get(lower)?.toLowerCase() ?? lower);
  }

  /** Stages that `--target` may name. */
  get names(): readonly string[] {
    return [...this.#byName.keys()];
  }

  /** @throws {DefinitionError} `E_DOCKERFILE_STAGE` */
  target(name: string | undefined): StageNode {
    if (name === undefined || name === '') {
      return this.nodes.at(-1) as StageNode;
    }
    const found = this.#byName.get(name.toLowerCase());
    if (found === undefined) {
      throw this.#noStage(`target stage '${name}' could not be found`, name);
    }
    return found;
  }

  /** Gives every stage its commands. To be called when all stages are there. */
  connect(stages: readonly Stage[], isForced: (name: string | undefined) => boolean): void {
    for (const [name, stage] of this.#aliases) {
      if (!this.#byName.has(stage.toLowerCase())) {
        throw this.#noStage(
          `the context '${name}' is to be the stage '${stage}', which could not be found`,
          stage,
        );
      }
    }
    for (const [index, stage] of stages.entries()) {
      const node = this.nodes[index] as StageNode;
      node.commands = stage.instructions.map((instruction, at) =>
        this.#command(node, instruction, at + 1, ''),
      );
      node.stepCount = countSteps(node);
      node.forced = isForced(node.name);
    }
    if (stages.length === 1) {
      (this.nodes[0] as StageNode).shownName = '';
    }
    this.#refuseCircles();
  }

  #noStage(message: string, name: string): Error {
    const near = nearName(name.toLowerCase(), this.names);
    return stageError(message, {
      file: this.#file,
      hint:
        near === undefined
          ? `the stages with a name are: ${this.names.join(', ') || 'none'}`
          : `did you mean '${near}'?`,
    });
  }

  /**
   * Puts the base's triggers in front of the stage's own instructions.
   *
   * @throws {DefinitionError} as the parser does, at the FROM line.
   */
  addTriggers(node: StageNode, expressions: readonly string[]): void {
    const commands = expressions.map((expression, at) => {
      const { instructions } = parseInstructions(expression, { name: 'ONBUILD' });
      const [parsed] = instructions;
      if (parsed === undefined || instructions.length > 1) {
        throw stageError(`a trigger of the base is not one instruction: '${expression}'`);
      }
      // It has no place of its own: what is said of it, and what switches a check off for it, stands at the FROM.
      const { location, from } = node;
      const instruction = { ...parsed, location, skipChecks: from.skipChecks };
      return this.#command(node, instruction, at + 1, 'onbuild-');
    });
    node.commands = [...commands, ...node.commands];
    node.stepCount = countSteps(node);
    node.triggersAdded = true;
    this.#refuseCircles();
  }

  /** Every stage and whatever they copy from. */
  all(): readonly StageNode[] {
    return [...new Set(this.nodes.flatMap((node) => [...this.reachable(node)]))];
  }

  /** What `target` needs, itself included. */
  reachable(target: StageNode): ReadonlySet<StageNode> {
    const found = new Set<StageNode>();
    const open = [target];
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      if (!found.has(node)) {
        found.add(node);
        open.push(...node.needs());
      }
    }
    return found;
  }

  #command(node: StageNode, instruction: StageInstruction, at: number, prefix: string): StageCommand {
    return {
      instruction,
      onbuild: prefix !== '',
      position: `${prefix}${at}`,
      sources: this.#sourcesOf(node, instruction),
    };
  }

  #sourcesOf(node: StageNode, instruction: StageInstruction): (StageNode | undefined)[] {
    if (instruction.kind === 'copy' && instruction.from !== undefined) {
      const { from, location } = instruction;
      if (/[$]/.test(from)) {
        throw this.#located(
          stageError(`variables are not expanded in --from: '${from}'`, {
            hint: 'add a stage such as `FROM ${IMAGE} AS source`, and write --from=source',
            culprit: from,
          }),
          location,
        );
      }
      return [this.#source(node, from, instruction, 'copy from')];
    }
    return instruction.kind === 'run' ? this.#mountSources(node, instruction) : [];
  }

  #mountSources(node: StageNode, instruction: RunInstruction): (StageNode | undefined)[] {
    return instruction.mounts.map((mount) => {
      // Only what needs no variable is looked at here; the rest is read when they are known.
      const from = mountFrom(mount);
      return from === undefined || from === ''
        ? undefined
        : this.#source(node, from, instruction, 'mount from');
    });
  }

  #source(
    user: StageNode,
    name: string,
    { location, skipChecks }: StageInstruction,
    doing: string,
  ): StageNode {
    if (/^\d+$/.test(name)) {
      const byNumber = this.nodes.filter((each) => !each.external)[Number(name)];
      if (byNumber === undefined) {
        throw this.#located(
          stageError(`there is no stage ${name}`, { hint: 'stages count from 0', culprit: name }),
          location,
        );
      }
      return this.#earlier(user, byNumber, name, location, doing);
    }
    const stage = this.#visible(user, name);
    if (stage !== undefined) {
      return this.#earlier(user, stage, name, location, doing);
    }
    let external = this.#externals.get(name);
    if (external === undefined) {
      external = new StageNode({
        index: this.nodes.length + this.#externals.size,
        from: { ...user.from, stageName: undefined, location, skipChecks, base: name },
        base: name,
        platform: undefined,
        external: true,
      });
      this.#externals.set(name, external);
    }
    return external;
  }

  /** The last stage of that name before `user`; one after it only for the error's sake. */
  #visible(user: StageNode, name: string): StageNode | undefined {
    const found = this.find(name);
    const before = this.nodes.findLast((each) => each.name === found?.name && each.index < user.index);
    return found === undefined ? undefined : (before ?? found);
  }

  #earlier(user: StageNode, stage: StageNode, name: string, location: Location, doing: string): StageNode {
    if (stage.index >= user.index) {
      throw this.#located(
        stageError(
          stage === user
            ? `cannot ${doing} stage '${name}' within itself`
            : `cannot ${doing} stage '${name}': it is defined after the stage '${user.shownName}' that needs it`,
          {
            hint: stage === user ? 'name what the stage is built from' : 'move the stage up in the file',
            culprit: name,
          },
        ),
        location,
      );
    }
    return stage;
  }

  #refuseCircles(): void {
    const done = new Set<StageNode>();
    const visit = (node: StageNode, path: readonly StageNode[]): void => {
      if (path.includes(node)) {
        const circle = [...path.slice(path.indexOf(node)), node].map((each) => each.shownName).join(' → ');
        throw this.#located(stageError(`stages need each other: ${circle}`), node.location);
      }
      if (!done.has(node)) {
        for (const next of node.needs()) {
          visit(next, [...path, node]);
        }
        done.add(node);
      }
    };
    for (const node of this.nodes) {
      visit(node, []);
    }
  }
}

/** Only what takes time is counted: the base, if it has to be loaded, and what makes layers. */
function countSteps(node: StageNode): number {
  const steps = node.commands.filter(({ instruction }) => COUNTED.has(instruction.kind)).length;
  return steps + (node.base !== 'scratch' && node.parent === undefined ? 1 : 0);
}

/** Triggers that a stage leaves to those that are FROM it. */
export function ownTriggers(node: StageNode): readonly string[] {
  return node.commands
    .map(({ instruction }) => instruction)
    .filter((each): each is OnbuildInstruction => each.kind === 'onbuild')
    .map(({ expression }) => expression);
}
