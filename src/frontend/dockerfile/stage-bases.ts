/** What stages are FROM: images, named contexts, nothing. */
import { nearName } from '../../base/near-name.ts';
import { DefinitionError } from '../../errors.ts';
import { type Edge, firstOutput, vertex } from '../../graph/vertex.ts';
import type { HistoryEntry, ImageConfig } from '../../oci/image-config.ts';
import { formatPlatform, type Platform } from '../../oci/platform.ts';
import { isReference } from '../../oci/reference.ts';
import { CHECKS } from './check-rules.ts';
import { contextFor } from './context-for.ts';
import type { Conversion } from './conversion.ts';
import { stageError } from './definition-place.ts';
import type { Stage } from './instruction.ts';
import type { BuildContext, LayoutReference, NamedContext, ResolvedImage } from './request.ts';
import { scratchEdge } from './scratch.ts';
import type { StageGraph, StageNode } from './stage-graph.ts';
import { alignedHistory, environmentOf, type StageBase } from './stage-state.ts';

/** Name of a named context or image that means an empty root. */
const SCRATCH = 'scratch';

/** What a stage without a parent starts from. */
export interface LoadedBase {
  readonly tip: Edge;
  readonly platform: Platform;
  readonly image: ImageConfig | undefined;
  readonly history: readonly HistoryEntry[];
  /** The instructions of the stage do not apply: a named context took its place. */
  readonly complete: boolean;
  readonly directory?: BuildContext;
}

export class StageBases {
  readonly #conversion: Conversion;
  readonly #stages: StageGraph;
  readonly #bases = new Map<StageNode, Promise<LoadedBase>>();

  constructor(conversion: Conversion, stages: StageGraph) {
    this.#conversion = conversion;
    this.#stages = stages;
  }

  /** Asked for once. */
  of(node: StageNode): Promise<LoadedBase> {
    let base = this.#bases.get(node);
    if (base === undefined) {
      base = this.#loadBase(node).catch((error: unknown) => {
        throw this.#conversion.located(error, node.location);
      });
      this.#bases.set(node, base);
    }
    return base;
  }

  async #loadBase(node: StageNode): Promise<LoadedBase> {
    const platform = node.platform ?? this.#conversion.request.platform;
    const replacement =
      node.name === undefined || node.external
        ? undefined
        : contextFor(this.#conversion.request, node.name, node.platform);
    if (replacement !== undefined) {
      return { ...(await this.#loadContext(replacement, node, platform)), complete: true };
    }
    const { begin } = this.#conversion.request;
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
    const named = contextFor(this.#conversion.request, node.base, platform);
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
    return await this.#conversion.resolver.resolveImage(node.base, platform);
  }

  #imageBase(
    node: StageNode,
    reference: string,
    { manifestDigest, config }: ResolvedImage,
    platform: Platform,
  ): LoadedBase {
    if (config.os !== platform.os || config.architecture !== platform.architecture) {
      const actual = formatPlatform(config);
      this.#conversion.report.add(
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
      tip: scratchEdge(platform),
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
    const shown = this.#conversion.request.severalPlatforms ? `${formatPlatform(platform)} ` : '';
    const stage = node.shownName === '' ? '' : `${node.shownName} `;
    return `[${shown}${stage}1/${node.stepCount}] FROM ${name}`;
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
              await this.#conversion.resolver.resolveImage(context.reference, platform),
              platform,
            );
      case 'layout':
        return await this.#layoutBase(node, context.layout, platform);
      case 'stage':
        throw stageError(`there is no stage '${context.name}'`);
    }
  }

  async #layoutBase(node: StageNode, layout: LayoutReference, platform: Platform): Promise<LoadedBase> {
    const { manifestDigest, config } = await this.#conversion.resolver.resolveLayout(layout, platform);
    const name = `layout-${manifestDigest.slice('sha256:'.length, 'sha256:'.length + 32)}`;
    this.#conversion.layouts.set(name, layout);
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
    const whole = this.#conversion.contextEdge(
      { kind: 'context', ...context.directory, selections: [{ source: '/' }] },
      platform,
      `context ${context.directory.name}`,
      location,
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
      [scratchEdge(platform), whole],
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
}

export function toStageBase({ tip, platform, image, history }: LoadedBase): StageBase {
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
