/** What a Dockerfile says of itself: violations of the build checks, what a target takes, the stages. Nothing is built. */
import { DefinitionError } from '../errors.ts';
import { CHECKS, checkUrl } from '../frontend/dockerfile/check-rules.ts';
import { showLines } from '../frontend/dockerfile/excerpt.ts';
import type { Finding } from '../frontend/dockerfile/instruction.ts';
import type { OutlineFacts } from '../frontend/dockerfile/outline.ts';
import { parseDockerfile } from '../frontend/dockerfile/parse.ts';
import type { DockerfileRequest } from '../frontend/dockerfile/request.ts';
import { type Image, imageParts } from '../frontend/fluent/image.ts';
import { hostPlatform, type Platform } from '../oci/platform.ts';
import { Dockerfiles } from './dockerfiles.ts';
import type { EngineParts } from './parts.ts';

export interface DescribeOptions {
  readonly platform?: Platform;
  readonly signal?: AbortSignal;
}

export interface DescribedDockerfile {
  /** Of the file. */
  readonly name: string;
  readonly findings: readonly DescribedFinding[];
  /** Undefined when the Dockerfile cannot be converted. */
  readonly outline: OutlineFacts | undefined;
  readonly targets: readonly DescribedTarget[];
  /** Why it cannot be converted, with the lines around the place. */
  readonly error: string | undefined;
}

export interface DescribedFinding {
  readonly rule: string;
  /** Of the rule. */
  readonly description: string;
  readonly url: string;
  readonly message: string;
  /** From 1. */
  readonly line?: number;
  /** The lines around it. */
  readonly excerpt?: string;
}

export interface DescribedTarget {
  readonly name?: string;
  readonly description?: string;
  readonly base: string;
  readonly platform?: string;
  readonly isDefault: boolean;
  readonly line: number;
}

/** @throws {DefinitionError} `E_ARG_TYPE` for an image that is no Dockerfile; what reading and parsing it throws. */
export async function describeDockerfile(
  parts: EngineParts,
  image: Image,
  options: DescribeOptions & { readonly signal: AbortSignal },
): Promise<DescribedDockerfile> {
  const [first] = imageParts(image).layers;
  if (first?.base?.kind !== 'dockerfile') {
    throw new DefinitionError(
      'only an image that is made by fromDockerfile() has a Dockerfile to ask about',
      {
        code: 'E_ARG_TYPE',
      },
    );
  }
  const { declaration } = first.base;
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
    })),
    // Without a target all of them are looked at.
    allStages: declaration.target === undefined,
  };
  const dockerfile = parseDockerfile(request.text, { name: request.name });
  const described = (finding: Finding): DescribedFinding => {
    const { rule, message, location } = finding;
    return {
      rule,
      message,
      description: CHECKS[rule].description,
      url: checkUrl(rule),
      ...(location === undefined
        ? {}
        : { line: location.startLine, excerpt: showLines(dockerfile.lines, location) }),
    };
  };
  const targets = dockerfile.stages.map(({ from }, index): DescribedTarget => {
    const { stageName, description, base, platform, location } = from;
    return {
      ...(stageName === undefined ? {} : { name: stageName }),
      ...(description === undefined ? {} : { description }),
      base,
      ...(platform === undefined ? {} : { platform }),
      isDefault: index === dockerfile.stages.length - 1,
      line: location.startLine,
    };
  });
  try {
    const { findings, outline } = await dockerfiles.describe(declaration, request);
    return { name: request.name, findings: findings.map(described), outline, targets, error: undefined };
  } catch (error) {
    if (!(error instanceof DefinitionError)) {
      throw error;
    }
    const error_ = [error.message, ...(error.excerpt === undefined ? [] : [error.excerpt])].join('\n');
    return { name: request.name, findings: [], outline: undefined, targets, error: error_ };
  }
}
