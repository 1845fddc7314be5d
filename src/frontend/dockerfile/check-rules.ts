/**
 * The build checks as data: name, what is wrong with it, what a violation says. Names are those that users of Dockerfiles know;
 * docs/reference/build-checks.md explains each with examples, and a test compares the two.
 */

interface CheckFacts {
  /** What is wrong with what the rule finds, in a sentence. */
  readonly description: string;
  /** Off unless asked for by `experimental=`. */
  readonly experimental?: true;
  /** Of one violation. */
  readonly message: (...parts: readonly string[]) => string;
}

export const CHECKS = {
  StageNameCasing: {
    description: 'Names of stages are found in any case; in lower case they look as they are found.',
    message: (name) => `the stage '${name}' is not in lower case`,
  },
  FromAsCasing: {
    description: 'FROM and AS of one line are written in different cases.',
    message: (from, as) => `'${as}' is not in the case of '${from}'`,
  },
  NoEmptyContinuation: {
    description:
      'An empty line within a continued instruction is skipped today and may be an error tomorrow.',
    message: () => 'an empty line within a continued instruction',
  },
  ConsistentInstructionCasing: {
    description: 'Most instructions of the file are written in the other case.',
    message: (keyword, wanted) => `'${keyword}' is not in ${wanted} as most instructions of the file are`,
  },
  DuplicateStageName: {
    description: 'Two stages have one name; what follows sees only the later one.',
    message: (name) => `there is an earlier stage '${name}'`,
  },
  ReservedStageName: {
    description: 'The names `scratch` and `context` mean something else.',
    message: (name) => `'${name}' is no name for a stage: it means something else`,
  },
  JSONArgsRecommended: {
    description: 'In shell form the shell, not the program, gets the signals that end a container.',
    message: (keyword) => `${keyword} in shell form: the shell gets the signals, not the program`,
  },
  MaintainerDeprecated: {
    description: 'MAINTAINER is obsolete; a label says the same.',
    message: () => 'MAINTAINER is obsolete: use LABEL org.opencontainers.image.authors=…',
  },
  UndefinedArgInFrom: {
    description: 'FROM uses a variable that no ARG before the first FROM declares.',
    message: (name, near) => `FROM uses '${name}', which no ARG declares${hint(near)}`,
  },
  WorkdirRelativePath: {
    description: 'A relative WORKDIR depends on what the base happens to have.',
    message: (path) => `WORKDIR '${path}' is relative, and where it leads depends on the base`,
  },
  UndefinedVar: {
    description: 'A variable is used that nothing sets.',
    message: (name, near, importable) =>
      `'$${name}' is not set by anything above${importable === '' ? hint(near) : `; ARG ${importable} brings it into the stage`}`,
  },
  MultipleInstructionsDisallowed: {
    description: 'Of several CMD, ENTRYPOINT or HEALTHCHECK of one stage only the last one counts.',
    message: (keyword) => `this ${keyword} has no effect: the stage has a later one`,
  },
  LegacyKeyValueFormat: {
    description: 'Key and value are separated by a blank, which takes the rest of the line as the value.',
    message: (keyword) => `${keyword} with a blank between key and value: write ${keyword} key=value`,
  },
  InvalidBaseImagePlatform: {
    description: 'The base is for another platform than the one that is built for.',
    message: (image, actual, wanted) => `the base '${image}' is for ${actual}, and ${wanted} is built`,
  },
  RedundantTargetPlatform: {
    description: 'The target platform is what FROM takes anyway.',
    message: (written) => `--platform=${written} says what holds without it`,
  },
  SecretsUsedInArgOrEnv: {
    description: 'Values of ARG and ENV can be read by whoever has the image.',
    message: (keyword, name) => `${keyword} '${name}' looks like a secret; whoever has the image can read it`,
  },
  InvalidDefaultArgInFrom: {
    description: 'With the defaults of the ARGs alone the base has no valid name.',
    message: (base) => `without build args '${base}' is no name of an image`,
  },
  FromPlatformFlagConstDisallowed: {
    description: 'A fixed platform makes the stage useless for other platforms.',
    message: (platform) => `FROM has the fixed platform '${platform}'`,
  },
  CopyIgnoredFile: {
    description: 'The ignore file hides what is to be copied.',
    message: (keyword, source) => `${keyword} '${source}': the ignore file hides it`,
  },
  InvalidDefinitionDescription: {
    description: 'The comment above an ARG or a FROM describes it only if it begins with its name.',
    experimental: true,
    message: (name) => `the comment above does not begin with '${name}', so that it describes nothing`,
  },
  ExposeProtoCasing: {
    description: 'Protocols of EXPOSE are in lower case.',
    message: (port) => `the protocol of '${port}' is not in lower case`,
  },
  ExposeInvalidFormat: {
    description: 'EXPOSE declares ports of the container; addresses and ports of the host have no effect.',
    message: (port) => `'${port}' names something of the host, which EXPOSE has no use for`,
  },
} as const satisfies Readonly<Record<string, CheckFacts>>;

export type CheckName = keyof typeof CHECKS;

export const CHECK_NAMES: readonly CheckName[] = Object.keys(CHECKS) as CheckName[];

export function isExperimental(rule: CheckName): boolean {
  const facts: CheckFacts = CHECKS[rule];
  return facts.experimental === true;
}

/** Whether `names`, from a comment above an instruction, switch the rule off; `all` is every rule. */
export function isSkipped(rule: CheckName, names: readonly string[]): boolean {
  return names.some((name) => ['all', rule.toLowerCase()].includes(name.toLowerCase()));
}

/** Where the rule is explained. */
export function checkUrl(rule: CheckName): string {
  return `docs/reference/build-checks.md#${rule.toLowerCase()}`;
}

function hint(near: string): string {
  return near === '' ? '' : `; did you mean '${near}'?`;
}
