/** What a Dockerfile says of itself: violations of the build checks, what a target takes, the stages. Nothing is built. */

import { showLines } from '../base/excerpt.ts';
import { DefinitionError } from '../errors.ts';
import { CHECKS, checkUrl } from '../frontend/dockerfile/check-rules.ts';
import type { Dockerfile, Finding, Location } from '../frontend/dockerfile/instruction.ts';
import type { OutlineFacts } from '../frontend/dockerfile/outline.ts';
import { parseDockerfile } from '../frontend/dockerfile/parse.ts';
import type { DockerfileRequest } from '../frontend/dockerfile/request.ts';
import { type Image, imageParts } from '../frontend/fluent/image.ts';
import { hostPlatform, type Platform } from '../oci/platform.ts';
import { Dockerfiles } from './dockerfiles.ts';
import type { EngineParts } from './parts.ts';

export interface DescribeOptions {
  /**
   * `checks` looks at all stages if there is no target, `outline` at what the target needs, and `targets` at no more than the text.
   *
   * @defaultValue `checks`
   */
  readonly question?: 'checks' | 'outline' | 'targets';
  readonly platform?: Platform;
  readonly signal?: AbortSignal;
}

export interface DescribedDockerfile {
  /** Of the file. */
  readonly name: string;
  /** Those that were found before the error, if there is one. */
  readonly findings: readonly DescribedFinding[];
  /** Undefined when the Dockerfile cannot be converted, or only its targets were asked for. */
  readonly outline: OutlineFacts | undefined;
  /** In the order of the file; none when it cannot be parsed. */
  readonly targets: readonly DescribedTarget[];
  /** Why it cannot be converted. */
  readonly error: DefinitionError | undefined;
}

export interface DescribedFinding {
  readonly rule: string;
  /** Of the rule. */
  readonly description: string;
  readonly url: string;
  readonly message: string;
  readonly location?: Location;
  /** The lines around it. */
  readonly excerpt?: string;
}

export interface DescribedTarget {
  readonly name?: string;
  readonly description?: string;
  /** As written. */
  readonly base: string;
  /** As written. */
  readonly platform?: string;
  readonly isDefault: boolean;
  readonly location: Location;
}

/** @throws {DefinitionError} `E_ARG_TYPE` for an image that is no Dockerfile; what reading it and looking up bases throws. */
export async function describeDockerfile(
  parts: EngineParts,
  image: Image,
  options: DescribeOptions & { readonly signal: AbortSignal },
): Promise<DescribedDockerfile> {
  const [first] = imageParts(image).layers;
  if (first?.base?.kind !== 'dockerfile') {
    const message = 'only an image that is made by fromDockerfile() has a Dockerfile to ask about';
    throw new DefinitionError(message, { code: 'E_ARG_TYPE' });
  }
  const { declaration } = first.base;
  const { question = 'checks' } = options;
  await using dockerfiles = new Dockerfiles(parts, {
    signal: options.signal,
    emit: (event) => parts.onEvent({ timeMs: parts.now(), ...event } as Parameters<typeof parts.onEvent>[0]),
    again: false,
    severalPlatforms: false,
  });
  const request: DockerfileRequest = {
    ...(await dockerfiles.request(declaration, {
      platform: options.platform ?? hostPlatform(),
      platformAsked: options.platform !== undefined,
      forced: false,
      secretEnv: [],
      definition: '',
      layer: 0,
    })),
    allStages: question === 'checks' && declaration.target === undefined,
  };
  const { name } = request;
  const described: DescribedDockerfile = {
    name,
    findings: [],
    outline: undefined,
    targets: [],
    error: undefined,
  };
  let dockerfile: Dockerfile;
  try {
    dockerfile = parseDockerfile(request.text, { name });
  } catch (error) {
    return { ...described, error: definitionError(error) };
  }
  const targets = targetsOf(dockerfile);
  if (question === 'targets') {
    return { ...described, targets };
  }
  const { findings, outcome } = await dockerfiles.check(declaration, request);
  return {
    name,
    findings: findings.map((finding) => describedFinding(finding, dockerfile)),
    outline: 'graph' in outcome ? outcome.graph.outline : undefined,
    targets,
    error: 'error' in outcome ? definitionError(outcome.error) : undefined,
  };
}

/** What the author of the Dockerfile has to mend; everything else is thrown on. */
function definitionError(error: unknown): DefinitionError {
  if (error instanceof DefinitionError) {
    return error;
  }
  throw error;
}

function describedFinding({ rule, message, location }: Finding, { lines }: Dockerfile): DescribedFinding {
  return {
    rule,
    message,
    description: CHECKS[rule].description,
    url: checkUrl(rule),
    ...(location === undefined ? {} : { location, excerpt: showLines(lines, location) }),
  };
}

function targetsOf({ stages }: Dockerfile): readonly DescribedTarget[] {
  return stages.map(({ from }, index): DescribedTarget => {
    const { stageName, description, base, platform, location } = from;
    return {
      ...(stageName === undefined ? {} : { name: stageName.toLowerCase() }),
      ...(description === undefined ? {} : { description }),
      base,
      ...(platform === undefined ? {} : { platform }),
      isDefault: index === stages.length - 1,
      location,
    };
  });
}
