/**
 * A Dockerfile → the graph of its target stage, with the configuration and history of the image.
 *
 * Follows the order in which the builder of Dockerfiles works: global ARGs, stages and their names, which stages the target
 * needs, their bases, triggers of ONBUILD, and then one instruction after the other.
 */
import { nearName } from '../../base/near-name.ts';
import { DefinitionError, RemoteError } from '../../errors.ts';
import { type Edge, firstOutput, type Vertex, vertex } from '../../graph/vertex.ts';
import type { ContainerConfig, HistoryEntry, ImageConfig } from '../../oci/image-config.ts';
import { formatPlatform, type Platform, parsePlatform } from '../../oci/platform.ts';
import { formatReference, parseReference } from '../../oci/reference.ts';
import { CheckReport, parseCheckOptions } from './check-report.ts';
import { CHECKS } from './check-rules.ts';
import { checkSyntax } from './check-syntax.ts';
import { type ContextInput, contextInputName } from './context-input.ts';
import { convertInstruction } from './convert-instruction.ts';
import { type DockerfileText, remoteWithPlace, stageError, withPlace } from './definition-place.ts';
import type { Dockerfile, Finding, Stage } from './instruction.ts';
import { type DeclaredArg, Outline, type OutlineFacts } from './outline.ts';
import { parseDockerfile } from './parse.ts';
import { platformArgs, proxyArgs } from './platform-args.ts';
import type {
  BuildContext,
  ContextDirectory,
  DockerfileRequest,
  DockerfileResolver,
  LayoutReference,
  NamedContext,
  ResolvedImage,
} from './request.ts';
import { type RequestWarning, requestWarnings } from './request-warnings.ts';
import { expandWord } from './shell-words.ts';
import { resolveSourceDateEpoch } from './source-date-epoch.ts';
import { ownTriggers, StageGraph, type StageNode } from './stage-graph.ts';
import { alignedHistory, environmentOf, type StageBase, StageState } from './stage-state.ts';

/** Name of a named context or image that means an empty root. */
const SCRATCH = 'scratch';

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
  return await new Conversion(request, resolver).run();
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
  let conversion: Conversion | undefined;
  try {
    conversion = new Conversion(request, resolver);
    const graph = await conversion.run();
    return { findings: graph.findings, outcome: { graph } };
  } catch (error) {
    return { findings: conversion?.report.findings ?? [], outcome: { error } };
  }
}

/** What the whole conversion shares; instructions are converted with it. */
export class Conversion {
  readonly request: DockerfileRequest;
  readonly resolver: DockerfileResolver;
  readonly report: CheckReport;
  readonly dockerfile: Dockerfile;
  /** Global ARGs with the automatic ones. */
  globalArgs: Map<string, string>;
  readonly outline = new Outline();
  readonly proxies: readonly (readonly [string, string])[];
  sourceDateEpoch: number | undefined;
  readonly #stages: StageGraph;
  readonly #states = new Map<StageNode, Promise<StageState>>();
  readonly #bases = new Map<StageNode, Promise<LoadedBase>>();
  readonly #contextInputs = new Map<string, ContextInput>();
  readonly #layouts = new Map<string, LayoutReference>();

  constructor(request: DockerfileRequest, resolver: DockerfileResolver) {
    this.request = request;
    this.resolver = resolver;
    this.dockerfile = parseDockerfile(request.text, { name: request.name });
    const { check } = this.dockerfile.directives;
    this.report = new CheckReport(
      parseCheckOptions(request.buildArgs.BUILDKIT_DOCKERFILE_CHECK ?? check ?? '', request.name),
    );
    const targetName = request.target ?? this.dockerfile.stages.at(-1)?.from.stageName?.toLowerCase() ?? '';
    const { buildPlatform, platform, buildArgs } = request;
    this.globalArgs = platformArgs(buildPlatform, platform, targetName, buildArgs);
    this.proxies = proxyArgs(buildArgs);
    const aliases = [...request.namedContexts].flatMap(([name, context]) =>
      context.kind === 'stage' ? [[name, context.name] as const] : [],
    );
    this.#stages = new StageGraph(
      new Map(aliases),
      (error, location) => this.located(error, location),
      request.name,
    );
  }

  async run(): Promise<DockerfileGraph> {
    const { request, dockerfile, report } = this;
    checkSyntax(dockerfile, report);
    this.#checkDefaultBases();
    this.#readGlobalArgs(request.buildArgs, (arg) => this.outline.declare(arg));
    this.sourceDateEpoch = await resolveSourceDateEpoch(this);
    if (this.sourceDateEpoch === undefined) {
      this.globalArgs.delete('SOURCE_DATE_EPOCH');
    } else {
      this.globalArgs.set('SOURCE_DATE_EPOCH', String(this.sourceDateEpoch));
    }
    for (const stage of dockerfile.stages) {
      this.#addStage(stage);
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
      contextInputs: this.#contextInputs,
      layouts: this.#layouts,
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

  /** Makes selected files of a context an input of a vertex. */
  contextEdge(
    input: ContextInput,
    platform: Platform,
    label: string,
    location: Stage['from']['location'],
  ): Edge {
    const name = contextInputName(input);
    if (!this.#contextInputs.has(name)) {
      this.#contextInputs.set(name, { ...input, place: { text: this.#text, location } });
    }
    return firstOutput(vertex({ kind: 'source-local', input: name }, [], { platform, label }));
  }

  /** @throws {DefinitionError} `E_NO_CONTEXT` */
  directoryIn(context: BuildContext | undefined): ContextDirectory {
    if (context === undefined) {
      throw new DefinitionError('there is no build context to read from', {
        code: 'E_NO_CONTEXT',
        hint: 'name a directory: tsbuild build -f Dockerfile DIRECTORY',
      });
    }
    return context.directory;
  }

  /** The directory that a `--from` means, if it is a named context that is one. */
  async directoryOf(node: StageNode): Promise<BuildContext | undefined> {
    const loaded = await this.#bases.get(node);
    return loaded?.directory;
  }

  get #text(): DockerfileText {
    return { name: this.request.name, lines: this.dockerfile.lines };
  }

  #finalConfig({ config }: StageState): ContainerConfig {
    const labels = { ...config.Labels, ...this.request.labels };
    return Object.freeze({
      ...config,
      ...(Object.keys(labels).length === 0 ? {} : { Labels: labels }),
    });
  }

  #readGlobalArgs(buildArgs: Readonly<Record<string, string>>, declare: (arg: DeclaredArg) => void): void {
    for (const instruction of this.dockerfile.globalArgs) {
      for (const { name, value, description } of instruction.args) {
        const given = buildArgs[name];
        const expanded =
          given !== undefined || value === undefined
            ? undefined
            : this.expand(value, this.globalArgs, instruction);
        const known = given ?? expanded?.text;
        if (known !== undefined) {
          this.globalArgs.set(name, known);
        }
        const { location } = instruction;
        declare({ name, value: known, location, description, uses: expanded?.matched ?? [] });
      }
    }
  }

  /** With the defaults alone a base should have a name that can be one. */
  #checkDefaultBases(): void {
    const saved = this.globalArgs;
    this.globalArgs = new Map(saved);
    try {
      this.#readGlobalArgs({}, () => undefined);
      for (const [index, { from }] of this.dockerfile.stages.entries()) {
        const { text, matched, unmatched } = this.expand(from.base, this.globalArgs, from);
        if (matched.length + unmatched.length > 0 && !this.#canBeBase(text, index)) {
          this.report.add(
            {
              rule: 'InvalidDefaultArgInFrom',
              message: CHECKS.InvalidDefaultArgInFrom.message(from.base),
              location: from.location,
            },
            from.skipChecks,
          );
        }
      }
    } catch {
      // A default that cannot be expanded fails below, if it is used.
    } finally {
      this.globalArgs = saved;
    }
  }

  /** Whether a name can be that of an image, an earlier stage or a named context. */
  #canBeBase(name: string, index: number): boolean {
    const earlier = this.dockerfile.stages.slice(0, index).map(({ from }) => from.stageName?.toLowerCase());
    return (
      isReference(name) ||
      earlier.includes(name.toLowerCase()) ||
      this.#contextFor(name, undefined) !== undefined
    );
  }

  /** Expands a word of an instruction and puts the place into the error. */
  expand(
    word: string,
    environment: ReadonlyMap<string, string>,
    where: { readonly location: Stage['from']['location'] },
    options: { readonly heredoc?: boolean } = {},
  ): ReturnType<typeof expandWord> {
    try {
      return expandWord(word, environment, {
        // Bodies of heredocs know the backslash alone.
        escape: options.heredoc === true ? '\\' : this.dockerfile.directives.escape,
        heredoc: options.heredoc,
      });
    } catch (error) {
      throw this.located(error, where.location);
    }
  }

  /** An error of this Dockerfile, with the lines around it. */
  located(error: unknown, location: Stage['from']['location']): unknown {
    if (error instanceof RemoteError && error.line === undefined) {
      return remoteWithPlace(error, this.#text, location);
    }
    return error instanceof DefinitionError && error.line === undefined
      ? withPlace(error, this.#text, location)
      : error;
  }

  #addStage(stage: Stage): void {
    const { from } = stage;
    const { text: base, matched, unmatched } = this.expand(from.base, this.globalArgs, from);
    this.#reportUndefinedInFrom(unmatched, stage);
    if (base === '') {
      throw this.located(
        stageError(`the name of the base is empty: '${from.base}'`, {
          hint: 'give its ARG a default before the first FROM, or --build-arg',
          culprit: from.base,
        }),
        from.location,
      );
    }
    if (!isReference(base) && unmatched.length > 0) {
      throw this.located(
        stageError(
          `'${base}' is no name of an image: nothing sets ${unmatched.map((name) => `'${name}'`).join(', ')}`,
          {
            hint: 'FROM sees the ARGs before the first FROM only',
            culprit: from.base,
          },
        ),
        from.location,
      );
    }
    const platform = from.platform === undefined ? undefined : this.#platformOf(stage, from.platform);
    const replaced = from.stageName !== undefined && this.#contextFor(from.stageName, platform) !== undefined;
    const node = this.#stages.addStage(stage, base, platform, { replaced });
    const { platform: written } = from;
    const inPlatform = written === undefined ? undefined : this.expand(written, this.globalArgs, from);
    for (const name of [...matched, ...unmatched, ...(inPlatform?.matched ?? [])]) {
      this.outline.use(node, name);
    }
  }

  #platformOf({ from }: Stage, written: string): Platform {
    const { text, matched, unmatched } = this.expand(written, this.globalArgs, from);
    this.#reportUndefinedInFrom(unmatched, { from });
    const { skipChecks, location } = from;
    // Alone, in whichever way it is written.
    if (
      [...matched, ...unmatched].join() === 'TARGETPLATFORM' &&
      text === this.globalArgs.get('TARGETPLATFORM')
    ) {
      this.report.add(
        {
          rule: 'RedundantTargetPlatform',
          message: CHECKS.RedundantTargetPlatform.message(written),
          location,
        },
        skipChecks,
      );
    }
    const hint = nearName(unmatched[0] ?? '', [...this.globalArgs.keys()]);
    try {
      if (text === '') {
        throw stageError(`the platform is empty: '${written}'`, {
          hint: hint === undefined ? undefined : `did you mean '${hint}'?`,
          culprit: written,
        });
      }
      const platform = parsePlatform(text);
      if (matched.length + unmatched.length === 0) {
        const name = from.stageName?.toLowerCase() ?? '';
        if (!name.includes(platform.os) && !name.includes(platform.architecture)) {
          this.report.add(
            {
              rule: 'FromPlatformFlagConstDisallowed',
              message: CHECKS.FromPlatformFlagConstDisallowed.message(text),
              location,
            },
            skipChecks,
          );
        }
      }
      return platform;
    } catch (error) {
      throw this.located(error, location);
    }
  }

  #reportUndefinedInFrom(unmatched: readonly string[], { from }: Pick<Stage, 'from'>): void {
    const declared = new Set([
      ...this.globalArgs.keys(),
      ...this.dockerfile.globalArgs.flatMap(({ args }) => args.map(({ name }) => name)),
    ]);
    for (const name of unmatched) {
      if (!declared.has(name)) {
        const near = nearName(name, [...declared]);
        this.report.add(
          {
            rule: 'UndefinedArgInFrom',
            message: CHECKS.UndefinedArgInFrom.message(name, near ?? ''),
            location: from.location,
          },
          from.skipChecks,
        );
      }
    }
  }

  /** Triggers of bases may need further stages and images; loads until nothing new is needed. */
  async #loadReachable(target: StageNode): Promise<ReadonlySet<StageNode>> {
    for (;;) {
      const reachable =
        this.request.allStages === true ? new Set(this.#stages.all()) : this.#stages.reachable(target);
      const bases = [...reachable].filter((node) => node.parent === undefined);
      const loaded = await Promise.all(bases.map(async (node) => [node, await this.#baseOf(node)] as const));
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

  #baseOf(node: StageNode): Promise<LoadedBase> {
    let base = this.#bases.get(node);
    if (base === undefined) {
      base = this.#loadBase(node).catch((error: unknown) => {
        throw this.located(error, node.location);
      });
      this.#bases.set(node, base);
    }
    return base;
  }

  async #loadBase(node: StageNode): Promise<LoadedBase> {
    const platform = node.platform ?? this.request.platform;
    const replacement =
      node.name === undefined || node.external ? undefined : this.#contextFor(node.name, node.platform);
    if (replacement !== undefined) {
      return { ...(await this.#loadContext(replacement, node, platform)), complete: true };
    }
    const { begin } = this.request;
    if (begin !== undefined && node.base.toLowerCase() === 'base') {
      return {
        tip: begin.tip,
        platform,
        image: begin.config,
        history: begin.history,
        complete: node.external,
      };
    }
    if (node.base.toLowerCase() === SCRATCH) {
      return this.#scratch(platform, node.external);
    }
    const named = this.#contextFor(node.base, platform);
    if (named !== undefined) {
      return { ...(await this.#loadContext(named, node, platform)), complete: node.external };
    }
    const resolved = await this.#resolveImage(node, platform);
    return this.#imageBase(node, node.base, resolved, platform);
  }

  async #resolveImage(node: StageNode, platform: Platform): Promise<ResolvedImage> {
    if (!isReference(node.base)) {
      const near = nearName(node.base, this.#stages.names);
      throw new DefinitionError(`'${node.base}' is no name of an image`, {
        code: 'E_IMAGE_NAME',
        hint:
          near === undefined
            ? 'see the reference: [host/]repository[:tag][@digest]'
            : `did you mean the stage '${near}'?`,
      });
    }
    return await this.resolver.resolveImage(node.base, platform);
  }

  #imageBase(
    node: StageNode,
    reference: string,
    { manifestDigest, config }: ResolvedImage,
    platform: Platform,
  ): LoadedBase {
    if (config.os !== platform.os || config.architecture !== platform.architecture) {
      const actual = formatPlatform(config);
      this.report.add(
        {
          rule: 'InvalidBaseImagePlatform',
          message: CHECKS.InvalidBaseImagePlatform.message(node.from.base, actual, formatPlatform(platform)),
          location: node.location,
        },
        node.from.skipChecks,
      );
    }
    // What has neither layers nor a history of any is as good as scratch.
    const empty =
      config.rootfs.diff_ids.length === 0 &&
      !(config.history ?? []).some((entry) => entry.empty_layer !== true);
    const label = this.#fromLabel(node, reference, platform);
    return {
      tip: firstOutput(
        vertex(empty ? { kind: 'scratch' } : { kind: 'source-image', reference, manifestDigest }, [], {
          platform,
          label,
        }),
      ),
      platform,
      image: config,
      history: alignedHistory(config, reference),
      complete: node.external,
    };
  }

  #scratch(platform: Platform, complete: boolean): LoadedBase {
    return {
      tip: firstOutput(vertex({ kind: 'scratch' }, [], { platform, label: '[internal] FROM scratch' })),
      platform,
      image: undefined,
      history: [],
      complete,
    };
  }

  #fromLabel(node: StageNode, name: string, platform: Platform): string {
    if (node.external) {
      return `FROM ${name}`;
    }
    const shown = this.request.severalPlatforms ? `${formatPlatform(platform)} ` : '';
    const stage = node.shownName === '' ? '' : `${node.shownName} `;
    return `[${shown}${stage}1/${node.stepCount}] FROM ${name}`;
  }

  /** Named contexts stand for stages, images and what `--from` names; `name::platform` for one platform only. */
  #contextFor(name: string, platform: Platform | undefined): NamedContext | undefined {
    const { namedContexts } = this.request;
    if (namedContexts.size === 0 || ['scratch', 'context'].includes(name.toLowerCase())) {
      return undefined;
    }
    const suffix = `::${formatPlatform(platform ?? this.request.platform)}`;
    for (const candidate of spellings(name)) {
      const found = namedContexts.get(`${candidate}${suffix}`) ?? namedContexts.get(candidate);
      if (found !== undefined && found.kind !== 'stage') {
        return found;
      }
    }
    return undefined;
  }

  async #loadContext(
    context: Exclude<NamedContext, { kind: 'stage' }> | NamedContext,
    node: StageNode,
    platform: Platform,
  ): Promise<LoadedBase> {
    switch (context.kind) {
      case 'directory':
        return { ...this.#directoryBase(context.context, platform, node.location), complete: true };
      case 'image':
        return context.reference.toLowerCase() === SCRATCH
          ? this.#scratch(platform, false)
          : this.#imageBase(
              node,
              context.reference,
              await this.resolver.resolveImage(context.reference, platform),
              platform,
            );
      case 'layout':
        return await this.#layoutBase(node, context.layout, platform);
      case 'stage':
        throw stageError(`there is no stage '${context.name}'`);
    }
  }

  async #layoutBase(node: StageNode, layout: LayoutReference, platform: Platform): Promise<LoadedBase> {
    const { manifestDigest, config } = await this.resolver.resolveLayout(layout, platform);
    const name = `layout-${manifestDigest.slice('sha256:'.length, 'sha256:'.length + 32)}`;
    this.#layouts.set(name, layout);
    const label = this.#fromLabel(node, `oci-layout:${layout.tag ?? manifestDigest}`, platform);
    return {
      tip: firstOutput(
        vertex({ kind: 'source-oci-layout', layout: name, manifestDigest }, [], { platform, label }),
      ),
      platform,
      image: config,
      history: alignedHistory(config, 'OCI layout'),
      complete: node.external,
    };
  }

  /** As a root filesystem, for those who are FROM it; `--from` reads the directory itself. */
  #directoryBase(context: BuildContext, platform: Platform, location: Stage['from']['location']): LoadedBase {
    const whole = this.contextEdge(
      { kind: 'context', ...context.directory, selections: [{ source: '/' }] },
      platform,
      `context ${context.directory.name}`,
      location,
    );
    const empty = firstOutput(
      vertex({ kind: 'scratch' }, [], { platform, label: '[internal] FROM scratch' }),
    );
    const copied = vertex(
      {
        kind: 'build',
        actions: [
          {
            kind: 'copy',
            input: 1,
            source: '/',
            destination: '/',
            owner: { kind: 'keep' },
            modes: 'keep',
            times: 'keep',
          },
        ],
      },
      [empty, whole],
      { platform, label: `context ${context.directory.name}` },
    );
    return {
      tip: firstOutput(copied),
      platform,
      image: undefined,
      history: [{ created_by: `context ${context.directory.name}` }],
      complete: false,
      directory: context,
    };
  }

  async #convertStage(node: StageNode): Promise<StageState> {
    const base: StageBase =
      node.parent === undefined
        ? toStageBase(await this.#baseOf(node))
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
        text: this.#text,
        created: sourceDateEpoch === undefined ? undefined : rfc3339(sourceDateEpoch),
      },
    );
    if (node.parent === undefined && (await this.#baseOf(node)).complete) {
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

/** What a stage without a parent starts from. */
interface LoadedBase {
  readonly tip: Edge;
  readonly platform: Platform;
  readonly image: ImageConfig | undefined;
  readonly history: readonly HistoryEntry[];
  /** The instructions of the stage do not apply: a named context took its place. */
  readonly complete: boolean;
  readonly directory?: BuildContext;
}

function toStageBase({ tip, platform, image, history }: LoadedBase): StageBase {
  // Without an image below, the working directory is said all the same, as BuildKit does.
  const config = image === undefined ? { WorkingDir: '/' } : (image.config ?? {});
  return {
    tip,
    platform,
    config,
    author: image?.author,
    history,
    args: [],
    environment: environmentOf(config),
    workdirSet: false,
  };
}

export function rfc3339(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** As written, and as Docker completes and shortens it: a context may be named in any of these forms. */
function spellings(name: string): readonly string[] {
  const lower = name.toLowerCase();
  if (!isReference(name)) {
    return [lower];
  }
  const reference = parseReference(name);
  const whole = formatReference(reference);
  const short = whole.replace(/^docker\.io\/(library\/)?/, '');
  const all = [lower, short, short.replace(/:latest$/, ''), whole, whole.replace(/:latest$/, '')];
  return [...new Set(all.map((each) => each.toLowerCase()))];
}

function isReference(text: string): boolean {
  try {
    parseReference(text);
    return true;
  } catch {
    return false;
  }
}

function stringList(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === 'string') : [];
}
