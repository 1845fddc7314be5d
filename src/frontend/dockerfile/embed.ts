/**
 * A Dockerfile as a part of another: its stages get names of their own, its context a directory of a larger one, its build
 * args become defaults. What is expanded later stays as it is written.
 */
import { posix } from 'node:path';
import { parseGitUrl } from './git-url.ts';
import type {
  AddInstruction,
  ArgInstruction,
  CopyInstruction,
  Dockerfile,
  FromInstruction,
  RunInstruction,
  Stage,
  StageInstruction,
} from './instruction.ts';

export interface Embedding {
  /** In front of the names of stages. Empty: they stay. */
  readonly stagePrefix: string;
  /** What `FROM base` means; undefined: an image of that name. */
  readonly base: string | undefined;
  /** Directory of the larger context, without a slash at either end. Empty: its root. */
  readonly directory: string;
  readonly buildArgs: Readonly<Record<string, string>>;
  /** Of steps that do not say. */
  readonly network: 'host' | 'none' | 'private';
  /** Values of `--mount` that every RUN gets. */
  readonly mounts: readonly string[];
  /** In front of the text of every RUN for a shell. */
  readonly prelude: string;
}

export interface EmbeddedDockerfile {
  readonly globalArgs: readonly ArgInstruction[];
  /** Every one has a name. */
  readonly stages: readonly Stage[];
}

export function embedDockerfile(dockerfile: Dockerfile, embedding: Embedding): EmbeddedDockerfile {
  const names = dockerfile.stages.map(({ from }, index) => stageName(from, index, embedding));
  const globalArgs = dockerfile.globalArgs.map((each) => withBuildArgs(each, embedding.buildArgs));
  const stages = dockerfile.stages.map((stage, index): Stage => {
    /** The last stage of that name before this one. */
    const earlier = (name: string): string | undefined => {
      const lower = name.toLowerCase();
      const found = dockerfile.stages
        .slice(0, index)
        .findLastIndex(({ from }) => from.stageName?.toLowerCase() === lower);
      return found >= 0 ? names[found] : lower === 'base' ? embedding.base : undefined;
    };
    const source = (name: string): string =>
      (/^\d+$/.test(name) ? names[Number(name)] : undefined) ?? earlier(name) ?? name;
    const from: FromInstruction = {
      ...stage.from,
      base: earlier(stage.from.base) ?? stage.from.base,
      stageName: names[index],
      asKeyword: stage.from.asKeyword ?? 'AS',
    };
    return { from, instructions: stage.instructions.map((each) => embedded(each, source, embedding)) };
  });
  return { globalArgs, stages };
}

function stageName({ stageName: name }: FromInstruction, index: number, { stagePrefix }: Embedding): string {
  return name === undefined
    ? `${stagePrefix === '' ? 'tsbuild-' : stagePrefix}stage-${index}`
    : `${stagePrefix}${name}`;
}

function embedded(
  instruction: StageInstruction,
  source: (name: string) => string,
  embedding: Embedding,
): StageInstruction {
  switch (instruction.kind) {
    case 'arg':
      return withBuildArgs(instruction, embedding.buildArgs);
    case 'copy':
      return instruction.from === undefined
        ? inDirectory(instruction, embedding.directory)
        : { ...instruction, from: source(instruction.from) };
    case 'add':
      return inDirectory(instruction, embedding.directory);
    case 'run':
      return embeddedRun(instruction, source, embedding);
    default:
      return instruction;
  }
}

function withBuildArgs(
  instruction: ArgInstruction,
  buildArgs: Readonly<Record<string, string>>,
): ArgInstruction {
  return {
    ...instruction,
    args: instruction.args.map((each) => {
      const given = Object.hasOwn(buildArgs, each.name) ? buildArgs[each.name] : undefined;
      return given === undefined ? each : { ...each, value: quotedWord(given) };
    }),
  };
}

/** A word of a Dockerfile that means the text itself, whatever the escape character is. */
export function quotedWord(text: string): string {
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}

function inDirectory<T extends CopyInstruction | AddInstruction>(instruction: T, directory: string): T {
  if (directory === '') {
    return instruction;
  }
  const pivot = instruction.kind === 'copy' && instruction.parents ? './' : '';
  const sources = instruction.sources.map((source) =>
    instruction.kind === 'add' && (/^https?:\/\//.test(source) || parseGitUrl(source) !== undefined)
      ? source
      : `${directory}/${pivot}${belowRoot(source)}`,
  );
  return { ...instruction, sources };
}

/** As a source is read: from the root of the context, which `..` does not leave. A pivot of `--parents` stays. */
function belowRoot(source: string): string {
  const parts: string[] = [];
  for (const part of source.split('/')) {
    if (part === '..') {
      parts.pop();
    } else if (part !== '' && (part !== '.' || parts.length > 0)) {
      parts.push(part);
    }
  }
  return parts.join('/');
}

function embeddedRun(
  instruction: RunInstruction,
  source: (name: string) => string,
  { directory, network, mounts, prelude }: Embedding,
): RunInstruction {
  const { command, heredocs } = instruction;
  const ofShell = command.form === 'shell' && prelude !== '';
  // Of a heredoc alone the body is the script.
  const script = ofShell && heredocs.length === 1 && /^\d*<<-?\S+$/.test(command.text.trim());
  return {
    ...instruction,
    mounts: [...mounts, ...instruction.mounts.map((mount) => embeddedMount(mount, source, directory))],
    network: instruction.network ?? (network === 'none' ? 'none' : undefined),
    ...(ofShell && !script ? { command: { form: 'shell', text: `${prelude}${command.text}` } } : {}),
    ...(script
      ? { heredocs: heredocs.map((each) => ({ ...each, content: `${prelude}\n${each.content}` })) }
      : {}),
  };
}

function embeddedMount(mount: string, source: (name: string) => string, directory: string): string {
  const fields = mount.split(',');
  const valueNamed = (...names: string[]) => {
    const field = fields.find((each) => names.includes((each.split('=')[0] ?? '').toLowerCase()));
    return field?.slice(field.indexOf('=') + 1);
  };
  const from = valueNamed('from');
  if (from !== undefined) {
    return fields.map((each) => (/^from=/i.test(each) ? `from=${source(from)}` : each)).join(',');
  }
  const type = valueNamed('type') ?? 'bind';
  if (directory === '' || type !== 'bind') {
    return mount;
  }
  const path = posix.join(directory, belowRoot(valueNamed('source', 'src') ?? ''));
  return [...fields.filter((each) => !/^(source|src)=/i.test(each)), `source=${path}`].join(',');
}
