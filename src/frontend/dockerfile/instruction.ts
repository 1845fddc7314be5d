/**
 * What a Dockerfile says, typed, before anything is expanded. Words that the builder expands later are as written, with
 * their quotes; what it never expands (exec forms, heredoc bodies) is final.
 *
 * Source: reference of the Dockerfile, one interface an instruction.
 */
import type { CheckName } from './check-rules.ts';

/** Lines of the file that an instruction covers, from 1, both included. */
export interface Location {
  readonly startLine: number;
  readonly endLine: number;
}

export interface Heredoc {
  /** The delimiter without quotes and `-`; of COPY the name of the file. */
  readonly name: string;
  readonly content: string;
  /** Whether the delimiter was unquoted, so that the body is expanded. */
  readonly expand: boolean;
  /** `<<-`: leading tabs were removed. */
  readonly chomp: boolean;
  /** `3<<EOF`. @defaultValue 0 */
  readonly fileDescriptor: number;
}

interface AnyInstruction {
  readonly location: Location;
  /** As the user wrote the keyword: `Run`. */
  readonly keyword: string;
  /** The whole instruction on one line, continuations joined, without heredoc bodies: what history and progress show. */
  readonly source: string;
  /** Rules that a `# check=skip=…` comment directly above the instruction switches off. */
  readonly skipChecks: readonly string[];
}

/** `[…]` was a JSON array of strings; otherwise the text for the shell. */
export type CommandLine =
  | { readonly form: 'exec'; readonly argv: readonly string[] }
  | { readonly form: 'shell'; readonly text: string };

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  /** `ENV key rest of the line`. */
  readonly legacy: boolean;
}

export interface ArgInstruction extends AnyInstruction {
  readonly kind: 'arg';
  readonly args: readonly {
    readonly name: string;
    /** Undefined: no default. */
    readonly value: string | undefined;
    /** Text of the comment above that begins with the name, for `--call=outline`. */
    readonly description?: string;
  }[];
}

export interface FromInstruction extends AnyInstruction {
  readonly kind: 'from';
  readonly base: string;
  readonly platform: string | undefined;
  /** As written; stages are found by its lower case. */
  readonly stageName: string | undefined;
  /** `AS` as written, for the checks. */
  readonly asKeyword: string | undefined;
  readonly description?: string;
}

export interface RunInstruction extends AnyInstruction {
  readonly kind: 'run';
  /** Of a heredoc alone the text is `<<NAME`; with bodies appended it is what the shell gets, see `heredocs`. */
  readonly command: CommandLine;
  readonly heredocs: readonly Heredoc[];
  /** Values of `--mount`, in order, as written. */
  readonly mounts: readonly string[];
  readonly network: string | undefined;
  readonly security: string | undefined;
  readonly devices: readonly string[];
}

/** What COPY and ADD have in common. */
export interface CopyParts extends AnyInstruction {
  readonly sources: readonly string[];
  readonly heredocs: readonly Heredoc[];
  readonly destination: string;
  readonly chown: string | undefined;
  readonly chmod: string | undefined;
  readonly link: boolean;
  readonly exclude: readonly string[];
}

export interface CopyInstruction extends CopyParts {
  readonly kind: 'copy';
  readonly from: string | undefined;
  readonly parents: boolean;
}

export interface AddInstruction extends CopyParts {
  readonly kind: 'add';
  readonly checksum: string | undefined;
  /** Undefined: not said. */
  readonly keepGitDir: boolean | undefined;
  readonly unpack: boolean | undefined;
}

export interface EnvInstruction extends AnyInstruction {
  readonly kind: 'env';
  readonly pairs: readonly KeyValue[];
}

export interface LabelInstruction extends AnyInstruction {
  readonly kind: 'label';
  readonly pairs: readonly KeyValue[];
}

export interface MaintainerInstruction extends AnyInstruction {
  readonly kind: 'maintainer';
  readonly author: string;
}

export interface WorkdirInstruction extends AnyInstruction {
  readonly kind: 'workdir';
  readonly path: string;
}

export interface UserInstruction extends AnyInstruction {
  readonly kind: 'user';
  readonly user: string;
}

export interface CmdInstruction extends AnyInstruction {
  readonly kind: 'cmd';
  readonly command: CommandLine;
}

export interface EntrypointInstruction extends AnyInstruction {
  readonly kind: 'entrypoint';
  readonly command: CommandLine;
}

export interface HealthcheckInstruction extends AnyInstruction {
  readonly kind: 'healthcheck';
  /** Undefined: `NONE`. */
  readonly command: CommandLine | undefined;
  /** Nanoseconds, as the image config has them; undefined: not said. */
  readonly intervalNs: number | undefined;
  readonly timeoutNs: number | undefined;
  readonly startPeriodNs: number | undefined;
  readonly startIntervalNs: number | undefined;
  readonly retries: number | undefined;
}

export interface ExposeInstruction extends AnyInstruction {
  readonly kind: 'expose';
  readonly ports: readonly string[];
}

export interface VolumeInstruction extends AnyInstruction {
  readonly kind: 'volume';
  readonly paths: readonly string[];
}

export interface StopsignalInstruction extends AnyInstruction {
  readonly kind: 'stopsignal';
  readonly signal: string;
}

export interface ShellInstruction extends AnyInstruction {
  readonly kind: 'shell';
  readonly argv: readonly string[];
}

export interface OnbuildInstruction extends AnyInstruction {
  readonly kind: 'onbuild';
  /** What the config keeps: the rest of the instruction, heredoc bodies included. */
  readonly expression: string;
}

export type StageInstruction =
  | ArgInstruction
  | RunInstruction
  | CopyInstruction
  | AddInstruction
  | EnvInstruction
  | LabelInstruction
  | MaintainerInstruction
  | WorkdirInstruction
  | UserInstruction
  | CmdInstruction
  | EntrypointInstruction
  | HealthcheckInstruction
  | ExposeInstruction
  | VolumeInstruction
  | StopsignalInstruction
  | ShellInstruction
  | OnbuildInstruction;

export interface Stage {
  readonly from: FromInstruction;
  readonly instructions: readonly StageInstruction[];
}

/** Parser directives. */
export interface Directives {
  readonly escape: '\\' | '`';
  readonly syntax: string | undefined;
  /** The value of `# check=`. */
  readonly check: string | undefined;
}

export interface Dockerfile {
  readonly directives: Directives;
  /** ARGs before the first FROM. */
  readonly globalArgs: readonly ArgInstruction[];
  /** At least one. */
  readonly stages: readonly Stage[];
  /** What the parser saw that some check is about. */
  readonly findings: readonly Finding[];
  /** The text without a byte order mark, by lines, for excerpts. */
  readonly lines: readonly string[];
}

/** A violation of a check. */
export interface Finding {
  /** Name of the rule, such as `StageNameCasing`. */
  readonly rule: CheckName;
  readonly message: string;
  readonly location: Location | undefined;
}
