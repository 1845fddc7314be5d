/** What the conversion of one Dockerfile shares: instructions are converted with it. */
import { DefinitionError, RemoteError } from '../../errors.ts';
import { type Edge, firstOutput, vertex } from '../../graph/vertex.ts';
import type { Platform } from '../../oci/platform.ts';
import { CheckReport, parseCheckOptions } from './check-report.ts';
import { type ContextInput, contextInputName } from './context-input.ts';
import { type DockerfileText, remoteWithPlace, withPlace } from './definition-place.ts';
import type { Dockerfile, Stage } from './instruction.ts';
import { Outline } from './outline.ts';
import { parseDockerfile } from './parse.ts';
import { platformArgs, proxyArgs } from './platform-args.ts';
import type {
  BuildContext,
  ContextDirectory,
  DockerfileRequest,
  DockerfileResolver,
  LayoutReference,
} from './request.ts';
import { expandWord } from './shell-words.ts';
import type { StageNode } from './stage-graph.ts';
import type { StageState } from './stage-state.ts';

export abstract class Conversion {
  readonly request: DockerfileRequest;
  readonly resolver: DockerfileResolver;
  readonly report: CheckReport;
  readonly dockerfile: Dockerfile;
  /** Global ARGs with the automatic ones. */
  globalArgs: Map<string, string>;
  readonly outline = new Outline();
  readonly proxies: readonly (readonly [string, string])[];
  /** Seconds, once global ARGs are read. */
  sourceDateEpoch: number | undefined;
  /** What vertices read, by the names that they use. */
  readonly contextInputs = new Map<string, ContextInput>();
  readonly layouts = new Map<string, LayoutReference>();

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
  }

  /** The stage after its last instruction; for what `--from` names besides stages, that image or context. */
  abstract stateOf(node: StageNode): Promise<StageState>;

  /** The directory that a `--from` means, if it is a named context that is one. */
  abstract directoryOf(node: StageNode): Promise<BuildContext | undefined>;

  get text(): DockerfileText {
    return { name: this.request.name, lines: this.dockerfile.lines };
  }

  /** Makes selected files of a context an input of a vertex. */
  contextEdge(
    input: ContextInput,
    platform: Platform,
    label: string,
    location: Stage['from']['location'],
  ): Edge {
    const name = contextInputName(input);
    if (!this.contextInputs.has(name)) {
      this.contextInputs.set(name, { ...input, place: { text: this.text, location } });
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
      return remoteWithPlace(error, this.text, location);
    }
    return error instanceof DefinitionError && error.line === undefined
      ? withPlace(error, this.text, location)
      : error;
  }
}
