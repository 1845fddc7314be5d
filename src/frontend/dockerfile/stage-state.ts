/** One stage while it is converted: its configuration, its variables, its history, and the vertex it has come to. */

import { posix } from 'node:path';
import { showLines } from '../../base/excerpt.ts';
import { maskUrlCredentials } from '../../base/redact.ts';
import { type Edge, firstOutput, type Operation, type Vertex, vertex } from '../../graph/vertex.ts';
import type { ContainerConfig, HistoryEntry, ImageConfig } from '../../oci/image-config.ts';
import { formatPlatform, type Platform } from '../../oci/platform.ts';
import type { DockerfileText } from './definition-place.ts';
import type { StageInstruction } from './instruction.ts';
import type { StageCommand, StageNode } from './stage-graph.ts';

/** What the Dockerfile frontends of the world write, so that tools that read history understand ours. */
const HISTORY_COMMENT = 'buildkit.dockerfile.v0';
const DEFAULT_SHELL = ['/bin/sh', '-c'];
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What a stage starts from. */
export interface StageBase {
  readonly tip: Edge;
  readonly platform: Platform;
  readonly config: ContainerConfig;
  readonly author: string | undefined;
  readonly history: readonly HistoryEntry[];
  /** ARGs that were declared in the stages below, with their values, in order. */
  readonly args: readonly (readonly [name: string, value: string | undefined])[];
  /** Variables below: the configuration's and the ARGs'. */
  readonly environment: ReadonlyMap<string, string>;
  /** WORKDIR was set in this file. */
  readonly workdirSet: boolean;
}

export interface StageNaming {
  readonly severalPlatforms: boolean;
  readonly definition: string;
  readonly layer: number;
  readonly text: DockerfileText;
  /** SOURCE_DATE_EPOCH as RFC 3339, for history. */
  readonly created: string | undefined;
}

export class StageState {
  readonly node: StageNode;
  readonly platform: Platform;
  readonly config: Record<string, unknown> & { -readonly [K in keyof ContainerConfig]: ContainerConfig[K] };
  readonly history: HistoryEntry[];
  readonly args: (readonly [name: string, value: string | undefined])[];
  /** What is expanded and what a step sees: config and ARGs, later wins. */
  readonly environment: Map<string, string>;
  author: string | undefined;
  workdirSet: boolean;
  /** Where CMD, ENTRYPOINT and HEALTHCHECK stood last in this stage. */
  readonly lastOf = new Map<
    'cmd' | 'entrypoint' | 'healthcheck',
    Pick<StageInstruction, 'location' | 'skipChecks'>
  >();
  readonly vertices: Vertex[] = [];
  #tip: Edge;
  #number: number;
  readonly #naming: StageNaming;

  constructor(node: StageNode, base: StageBase, naming: StageNaming) {
    this.node = node;
    this.platform = base.platform;
    this.config = structuredClone(base.config) as StageState['config'];
    this.history = [...base.history];
    this.args = [...base.args];
    this.author = base.author;
    this.workdirSet = base.workdirSet;
    this.#tip = base.tip;
    this.#naming = naming;
    // A base that is not another stage was the first thing to be loaded.
    this.#number = node.parent === undefined && node.base !== 'scratch' ? 1 : 0;
    this.environment = new Map(base.environment);
    if (!this.environment.has('PATH')) {
      this.config.Env = [...(this.config.Env ?? []), `PATH=${DEFAULT_PATH}`];
      this.environment.set('PATH', DEFAULT_PATH);
    }
    delete this.config.OnBuild;
  }

  get tip(): Edge {
    return this.#tip;
  }

  /** Absolute. */
  get workingDir(): string {
    return posix.resolve('/', this.config.WorkingDir ?? '/');
  }

  get shell(): readonly string[] {
    const { Shell: shell } = this.config;
    return shell === undefined || shell.length === 0 ? DEFAULT_SHELL : shell;
  }

  get user(): string {
    return this.config.User ?? '';
  }

  /** Sets a variable so that it is the last one. */
  setVariable(name: string, value: string): void {
    this.environment.delete(name);
    this.environment.set(name, value);
  }

  addHistory(createdBy: string, withLayer: boolean): void {
    const { created } = this.#naming;
    this.history.push({
      ...(created === undefined ? {} : { created }),
      created_by: createdBy,
      comment: HISTORY_COMMENT,
      ...(withLayer ? {} : { empty_layer: true }),
    });
  }

  /** `[builder 2/3] RUN make`: what progress calls the next step of this stage. */
  nextLabel(command: StageCommand, text: string): string {
    this.#number += 1;
    const total = this.node.stepCount;
    const width = String(total).length;
    const platform = this.#naming.severalPlatforms ? `${formatPlatform(this.platform)} ` : '';
    const stage = this.node.shownName === '' ? '' : `${this.node.shownName} `;
    const onbuild = command.onbuild ? 'ONBUILD ' : '';
    return `[${platform}${stage}${String(this.#number).padStart(width)}/${total}] ${onbuild}${maskUrlCredentials(text)}`;
  }

  /** Adds a vertex of this stage; `after` also makes it what the next instruction builds on. */
  add(
    operation: Operation,
    inputs: readonly Edge[],
    command: StageCommand,
    label: string,
    after: 'becomes tip' | 'beside',
  ): Edge {
    const { instruction } = command;
    const made = vertex(operation, inputs, {
      platform: this.platform,
      label,
      origin: {
        method: instruction.kind.toUpperCase(),
        layer: this.#naming.layer,
        definition: this.#naming.definition,
        position: `${this.node.shownName || this.node.index}/${command.position}`,
        source: {
          file: this.#naming.text.name,
          line: instruction.location.startLine,
          excerpt: showLines(this.#naming.text.lines, instruction.location),
        },
      },
      ...(this.node.forced ? { force: true } : {}),
    });
    this.vertices.push(made);
    const edge = firstOutput(made);
    if (after === 'becomes tip') {
      this.#tip = edge;
    }
    return edge;
  }

  /** What a stage that is built FROM this one starts with. */
  asBase(): StageBase {
    return {
      tip: this.#tip,
      platform: this.platform,
      config: this.config,
      author: this.author,
      history: this.history,
      args: this.args,
      environment: this.environment,
      workdirSet: this.workdirSet,
    };
  }
}

/** Variables of an image's configuration. */
export function environmentOf(config: ContainerConfig): Map<string, string> {
  return new Map(
    (config.Env ?? []).map((line) => {
      const equals = line.indexOf('=');
      return equals < 0 ? [line, ''] : [line.slice(0, equals), line.slice(equals + 1)];
    }),
  );
}

/** A base whose history does not tell its layers gets one entry a layer, so that ours line up with the layers. */
export function alignedHistory(config: ImageConfig, name: string): readonly HistoryEntry[] {
  const history = config.history ?? [];
  const layers = config.rootfs.diff_ids.length;
  if (history.filter((entry) => entry.empty_layer !== true).length === layers) {
    return history;
  }
  return Array.from({ length: layers }, () => ({ comment: `layer of ${name}` }));
}
