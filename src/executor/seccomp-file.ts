/**
 * A seccomp profile of the user's: as Docker, containerd and Podman take it (`--security-opt seccomp=FILE`), or as it stands in a `config.json` of
 * the OCI. Rules that hang on capabilities, kernel and architecture are decided here, once.
 */
import { release } from 'node:os';
import { UsageError } from '../errors.ts';
import { DEFAULT_CAPABILITIES } from './capabilities.ts';
import {
  OCI_ARCHITECTURES,
  OCI_OPERATORS,
  type OciArgument,
  type OciSeccomp,
  type OciSyscalls,
} from './seccomp.ts';

const ACTIONS = [
  'SCMP_ACT_ALLOW',
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_PROCESS',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_LOG',
  'SCMP_ACT_TRAP',
];

type Json = Readonly<Record<string, unknown>>;

/** Where the profile is going to hold. */
export interface SeccompMachine {
  /** As `uname -r`. */
  readonly kernel: string;
  /** In Go's words. */
  readonly architecture: string;
  readonly capabilities: readonly string[];
}

const THIS_MACHINE: SeccompMachine = {
  kernel: release(),
  architecture: process.arch === 'x64' ? 'amd64' : process.arch,
  capabilities: DEFAULT_CAPABILITIES,
};

/** @throws {UsageError} `E_SECCOMP_PROFILE` */
export function readSeccompProfile(text: string, path: string, machine = THIS_MACHINE): OciSeccomp {
  const wrong = (why: string, cause?: unknown) =>
    new UsageError(`'${path}' is not a seccomp profile: ${why}`, {
      code: 'E_SECCOMP_PROFILE',
      ...(cause === undefined ? {} : { cause }),
      hint: "it takes what `docker run --security-opt seccomp=FILE` takes; without --seccomp steps have tsbuild's own",
    });
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw wrong((cause as Error).message, cause);
  }
  if (!isObject(parsed) || !Array.isArray(parsed.syscalls ?? [])) {
    throw wrong("it is no object with 'defaultAction' and 'syscalls'");
  }
  const syscalls: OciSyscalls[] = [];
  for (const [index, rule] of ((parsed.syscalls ?? []) as unknown[]).entries()) {
    const where = `syscalls[${index}]`;
    if (!isObject(rule)) {
      throw wrong(`${where} is no object`);
    }
    const names = namesOf(rule);
    if (names === undefined) {
      throw wrong(`${where} names no system calls`);
    }
    const action = actionOf(rule.action, where, wrong);
    const args = argumentsOf(rule.args, where, wrong);
    if (holds(rule, machine)) {
      syscalls.push({
        names,
        action,
        ...errnoOf('errnoRet', rule.errnoRet, where, wrong),
        ...(args.length === 0 ? {} : { args }),
      });
    }
  }
  return {
    defaultAction: actionOf(parsed.defaultAction, 'defaultAction', wrong),
    ...errnoOf('defaultErrnoRet', parsed.defaultErrnoRet, 'the profile', wrong),
    architectures: OCI_ARCHITECTURES,
    syscalls,
  };
}

type Wrong = (why: string) => UsageError;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNames(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

/** The older form has `name`. */
function namesOf({ name, names }: Json): readonly string[] | undefined {
  if (isNames(names) && names.length > 0) {
    return names;
  }
  return typeof name === 'string' && name !== '' ? [name] : undefined;
}

function actionOf(action: unknown, where: string, wrong: Wrong): string {
  if (typeof action !== 'string' || !ACTIONS.includes(action)) {
    throw wrong(`the action of ${where} is ${JSON.stringify(action)}; it can be ${ACTIONS.join(', ')}`);
  }
  return action;
}

function errnoOf<Key extends string>(
  key: Key,
  value: unknown,
  where: string,
  wrong: Wrong,
): { readonly [key in Key]?: number } {
  if (value === undefined || value === null) {
    return {};
  }
  if (!isNumber(value) || value > 4095) {
    throw wrong(`'${key}' of ${where} is no errno`);
  }
  return { [key]: value } as { readonly [key in Key]?: number };
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 2 ** 64 - 2 ** 11;
}

function argumentsOf(args: unknown, where: string, wrong: Wrong): OciArgument[] {
  if (args === undefined || args === null) {
    return [];
  }
  if (!Array.isArray(args)) {
    throw wrong(`'args' of ${where} is no list`);
  }
  return args.map((arg: unknown) => {
    const { index, value, valueTwo = 0, op } = isObject(arg) ? arg : ({} as Json);
    if (
      !(isNumber(index) && index <= 5 && isNumber(value) && isNumber(valueTwo)) ||
      typeof op !== 'string' ||
      !OCI_OPERATORS.includes(op)
    ) {
      throw wrong(
        `an argument of ${where} needs 'index' up to 5, 'value' and 'op', one of ${OCI_OPERATORS.join(', ')}`,
      );
    }
    return { index, value, valueTwo, op };
  });
}

/** `includes` and `excludes`: all of the former must be so, none of the latter. */
function holds({ includes, excludes }: Json, machine: SeccompMachine): boolean {
  const wanted = isObject(includes) ? includes : {};
  const unwanted = isObject(excludes) ? excludes : {};
  const listed = (value: unknown) => (isNames(value) ? value : []);
  const has = (capability: string) => machine.capabilities.includes(capability);
  const arches = listed(wanted.arches);
  return (
    (arches.length === 0 || arches.includes(machine.architecture)) &&
    listed(wanted.caps).every(has) &&
    (typeof wanted.minKernel !== 'string' || isAtLeast(machine.kernel, wanted.minKernel)) &&
    !listed(unwanted.arches).includes(machine.architecture) &&
    !listed(unwanted.caps).some(has) &&
    !(typeof unwanted.minKernel === 'string' && isAtLeast(machine.kernel, unwanted.minKernel))
  );
}

function isAtLeast(kernel: string, minimum: string): boolean {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = minimum.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
