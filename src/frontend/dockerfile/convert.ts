/**
 * A Dockerfile → the graph of its target stage, with the configuration and history of the image.
 *
 * Follows the order in which the builder of Dockerfiles works: global ARGs, stages and their names, which stages the target
 * needs, their bases, triggers of ONBUILD, and then one instruction after the other.
 */
import { rfc3339 } from '../../base/rfc3339.ts';
import type { DefinitionError } from '../../errors.ts';
import type { Edge, Vertex } from '../../graph/vertex.ts';
import type { ContainerConfig, HistoryEntry } from '../../oci/image-config.ts';
import type { Platform } from '../../oci/platform.ts';
import { checkSyntax } from './check-syntax.ts';
import type { ContextInput } from './context-input.ts';
import { Conversion } from './conversion.ts';
import { convertInstruction } from './convert-instruction.ts';
import { checkDefaultBases, declareStage, readGlobalArgs } from './declare-stages.ts';
import type { Finding } from './instruction.ts';
import type { OutlineFacts } from './outline.ts';
import type { BuildContext, DockerfileRequest, DockerfileResolver, LayoutReference } from './request.ts';
import { type RequestWarning, requestWarnings } from './request-warnings.ts';
import { resolveSourceDateEpoch } from './source-date-epoch.ts';
import { StageBases, toStageBase } from './stage-bases.ts';
import { ownTriggers, StageGraph, type StageNode } from './stage-graph.ts';
import { type StageBase, StageState } from './stage-state.ts';

export interface DockerfileGraph {
  /** Of the file, as messages show it. */
  readonly name: string;
  /** The root filesystem of the target. */
  readonly tip: Edge;
  readonly platform: Platform;
  readonly config: ContainerConfig;
  /** MAINTAINER, or the base's. */
  readonly author: string | undefined;
  /** Every entry that is not `empty_layer` is one layer of the stack, in order. */
  readonly history: readonly HistoryEntry[];
  /** Of all stages that the target needs. */
  readonly vertices: readonly Vertex[];
  /** By the name that `source-local` vertices use. */
  readonly contextInputs: ReadonlyMap<string, ContextInput>;
  /** By the name that `source-oci-layout` vertices use. */
  readonly layouts: ReadonlyMap<string, LayoutReference>;
  /** Violations of the build checks that are not switched off. */
  readonly findings: readonly Finding[];
  readonly warnings: readonly RequestWarning[];
  /** What is to be thrown when violations are to fail the build. */
  readonly checkFailure: DefinitionError | undefined;
  /** SOURCE_DATE_EPOCH in seconds, if the build args give it. */
  readonly sourceDateEpoch: number | undefined;
  readonly outline: OutlineFacts;
}

/**
 * @throws {DefinitionError} `E_DOCKERFILE_SYNTAX`, `E_DOCKERFILE_INSTRUCTION`, `E_DOCKERFILE_FLAG`, `E_DOCKERFILE_VARIABLE`,
 * `E_DOCKERFILE_STAGE`, `E_ENTITLEMENT`, with the place in the file; `E_COPY_SOURCE_MISSING` is found later, when the
 * context is looked at.
 * @throws what the resolver throws.
 */
export async function dockerfileToGraph(
  request: DockerfileRequest,
  resolver: DockerfileResolver,
): Promise<DockerfileGraph> {
  return await new StagesConversion(request, resolver).run();
}

/** What came of a Dockerfile that may have an error. */
export interface CheckedDockerfile {
  /** Those that were found before the error, if there is one. */
  readonly findings: readonly Finding[];
  readonly outcome: { readonly graph: DockerfileGraph } | { readonly error: unknown };
}

/** As {@link dockerfileToGraph}, for who wants to know what the checks found even if the Dockerfile cannot be converted. */
export async function checkDockerfile(
  request: DockerfileRequest,
  resolver: DockerfileResolver,
): Promise<CheckedDockerfile> {
  let conversion: StagesConversion | undefined;
  try {
    conversion = new StagesConversion(request, resolver);
    const graph = await conversion.run();
    return { findings: graph.findings, outcome: { graph } };
  } catch (error) {
    return { findings: conversion?.report.findings ?? [], outcome: { error } };
  }
}

class StagesConversion extends Conversion {
  readonly #stages: StageGraph;
  readonly #bases: StageBases;
  readonly #states = new Map<StageNode, Promise<StageState>>();

  constructor(request: DockerfileRequest, resolver: DockerfileResolver) {
    super(request, resolver);
    const aliases = [...request.namedContexts].flatMap(([name, context]) =>
      context.kind === 'stage' ? [[name, context.name] as const] : [],
    );
    this.#stages = new StageGraph(
      new Map(aliases),
      (error, location) => this.located(error, location),
      request.name,
    );
    this.#bases = new StageBases(this, this.#stages);
  }

  async run(): Promise<DockerfileGraph> {
    const { request, dockerfile, report } = this;
    checkSyntax(dockerfile, report);
    checkDefaultBases(this);
    readGlobalArgs(this, request.buildArgs, (arg) => this.outline.declare(arg));
    this.sourceDateEpoch = await resolveSourceDateEpoch(this);
    if (this.sourceDateEpoch === undefined) {
      this.globalArgs.delete('SOURCE_DATE_EPOCH');
    } else {
      this.globalArgs.set('SOURCE_DATE_EPOCH', String(this.sourceDateEpoch));
    }
    for (const stage of dockerfile.stages) {
      declareStage(this, this.#stages, stage);
    }
    const target = this.#stages.target(request.target);
    const forced = new Set(request.noCacheStages.map((name) => name.toLowerCase()));
    this.#stages.connect(dockerfile.stages, (name) => request.forced || forced.has(name ?? ''));
    const reachable = await this.#loadReachable(target);
    const vertices: Vertex[] = [];
    for (const node of this.#stages.nodes) {
      if (reachable.has(node)) {
        // One after the other: a stage may read the state of an earlier one, and labels count up.
        vertices.push(...(await this.stateOf(node)).vertices);
      }
    }
    const state = await this.stateOf(target);
    return {
      name: request.name,
      tip: state.tip,
      platform: request.platformAsked ? request.platform : state.platform,
      config: this.#finalConfig(state),
      author: state.author,
      history: state.history,
      vertices,
      contextInputs: this.contextInputs,
      layouts: this.layouts,
      findings: report.findings,
      checkFailure: report.failure,
      warnings: requestWarnings(dockerfile, request),
      sourceDateEpoch: this.sourceDateEpoch,
      outline: this.outline.facts(target, this.#stages.reachable(target)),
    };
  }

  /** The stage after its last instruction; for what `--from` names besides stages, that image or context. */
  stateOf(node: StageNode): Promise<StageState> {
    let state = this.#states.get(node);
    if (state === undefined) {
      state = this.#convertStage(node);
      this.#states.set(node, state);
    }
    return state;
  }

  /** The directory that a `--from` means, if it is a named context that is one. */
  async directoryOf(node: StageNode): Promise<BuildContext | undefined> {
    const loaded = node.parent === undefined ? await this.#bases.of(node) : undefined;
    return loaded?.directory;
  }

  #finalConfig({ config }: StageState): ContainerConfig {
    const labels = { ...config.Labels, ...this.request.labels };
    return Object.freeze({
      ...config,
      ...(Object.keys(labels).length === 0 ? {} : { Labels: labels }),
    });
  }

  /** Triggers of bases may need further stages and images; loads until nothing new is needed. */
  async #loadReachable(target: StageNode): Promise<ReadonlySet<StageNode>> {
    for (;;) {
      const reachable =
        this.request.allStages === true ? new Set(this.#stages.all()) : this.#stages.reachable(target);
      const bases = [...reachable].filter((node) => node.parent === undefined);
      const loaded = await Promise.all(
        bases.map(async (node) => [node, await this.#bases.of(node)] as const),
      );
      const triggers = new Map(loaded.map(([node, { image }]) => [node, image?.config?.OnBuild]));
      let added = false;
      for (const node of reachable) {
        if (node.triggersAdded || node.external) {
          continue;
        }
        const expressions =
          node.parent === undefined ? stringList(triggers.get(node)) : ownTriggers(node.parent);
        node.triggersAdded = true;
        if (expressions.length > 0) {
          try {
            this.#stages.addTriggers(node, expressions);
          } catch (error) {
            throw this.located(error, node.location);
          }
          added = true;
        }
      }
      if (!added) {
        return reachable;
      }
    }
  }

  async #convertStage(node: StageNode): Promise<StageState> {
    const base: StageBase =
      node.parent === undefined
        ? toStageBase(await this.#bases.of(node))
        : (await this.stateOf(node.parent)).asBase();
    const { request, sourceDateEpoch } = this;
    const state = new StageState(
      node,
      // A stage has the platform of the stage that it is FROM, whatever its own flag says.
      base,
      {
        severalPlatforms: request.severalPlatforms,
        definition: request.definition,
        layer: request.layer,
        text: this.text,
        created: sourceDateEpoch === undefined ? undefined : rfc3339(sourceDateEpoch),
      },
    );
    if (node.parent === undefined && (await this.#bases.of(node)).complete) {
      return state;
    }
    for (const command of node.commands) {
      try {
        await convertInstruction(this, state, command);
      } catch (error) {
        throw this.located(error, command.instruction.location);
      }
    }
    return state;
  }
}

function stringList(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === 'string') : [];
}
