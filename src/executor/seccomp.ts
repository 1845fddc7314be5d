/** A seccomp profile in the forms that sandboxes take: the program that our launcher installs, and the profile of an OCI runtime. */
import { constants } from 'node:os';
import { HostError } from '../errors.ts';
import { native, type SeccompAction, type SeccompCondition, type SeccompFilter } from '../native/addon.ts';
import { SECCOMP_RULES, type SeccompAnswer, type SeccompRule } from './seccomp-profile.ts';

/** `linux.seccomp` of the OCI's runtime specification. */
export interface OciSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly OciSyscalls[];
}

export interface OciSyscalls {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly OciArgument[];
}

export interface OciArgument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}

export interface StepSeccomp {
  /** For `step.rs`. */
  readonly program: Buffer;
  readonly oci: OciSeccomp;
}

const ERRNO: Readonly<Record<SeccompAnswer, number>> = {
  EPERM: constants.errno.EPERM,
  ENOSYS: constants.errno.ENOSYS,
  EAFNOSUPPORT: constants.errno.EAFNOSUPPORT,
};
const LOW_BITS = 0xffff_ffff;
const ALL_BITS = String(2n ** 64n - 1n);
/** A family beyond is none to the kernel: `AF_MAX` is 46. */
const MOST_FAMILIES = 64;

export const OCI_ARCHITECTURES: readonly string[] =
  process.arch === 'arm64'
    ? ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM']
    : ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'];

/** That of `seccomp-profile.ts`. */
export function defaultSeccomp(): StepSeccomp {
  return {
    program: compile({
      otherwise: { kind: 'allow' },
      foreign: { kind: 'errno', errno: ERRNO.ENOSYS },
      beyond: { kind: 'errno', errno: ERRNO.ENOSYS },
      rules: SECCOMP_RULES.flatMap((rule) =>
        rule.names.flatMap((name) => {
          const action: SeccompAction = { kind: 'errno', errno: ERRNO[rule.answer] };
          return conditionsOf(rule).map((conditions) => ({ name, conditions, action }));
        }),
      ),
    }),
    oci: {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: OCI_ARCHITECTURES,
      syscalls: SECCOMP_RULES.flatMap(ociOf),
    },
  };
}

/** Of a profile that was read (`seccomp-file.ts`). */
export function seccompOf(oci: OciSeccomp): StepSeccomp {
  const otherwise = actionOf(oci.defaultAction, oci.defaultErrnoRet);
  const rules = oci.syscalls.flatMap(({ names, action, errnoRet, args = [] }) =>
    names.flatMap((name) =>
      alternatives(args).map((all) => ({
        name,
        conditions: all.map(conditionOf),
        action: actionOf(action, errnoRet),
      })),
    ),
  );
  const enosys: SeccompAction = { kind: 'errno', errno: ERRNO.ENOSYS };
  // Who forbids what is not named did not mean to tell programs that calls are forbidden which they would do without.
  const beyond = otherwise.kind === 'allow' || otherwise.kind === 'log' ? otherwise : enosys;
  return { program: compile({ otherwise, foreign: enosys, beyond, rules }), oci };
}

function compile(filter: SeccompFilter): Buffer {
  try {
    return native().seccompProgram(filter);
  } catch (cause) {
    throw new HostError(`cannot compile the seccomp profile: ${(cause as Error).message}`, {
      code: 'E_SECCOMP',
      cause,
    });
  }
}

/** Each is one alternative. */
function conditionsOf({ when }: SeccompRule): SeccompCondition[][] {
  if (when === undefined) {
    return [[]];
  }
  const one = (mask: number, test: SeccompCondition['test'], value: number): SeccompCondition => ({
    argument: when.argument,
    mask: String(mask),
    test,
    value: String(value),
  });
  switch (when.kind) {
    case 'any-bit':
      return [[one(when.mask, 'not-equal', 0)]];
    case 'equal':
      return when.values.map((value) => [one(LOW_BITS, 'equal', value)]);
    case 'other-than':
      return [when.values.map((value) => one(LOW_BITS, 'not-equal', value))];
  }
}

/** Its comparisons know no "any of these bits" and no "none of these". */
function ociOf({ names, answer, when }: SeccompRule): OciSyscalls[] {
  const rule = { names, action: 'SCMP_ACT_ERRNO', errnoRet: ERRNO[answer] };
  if (when === undefined) {
    return [rule];
  }
  const masked = (mask: number, value: number) => ({
    ...rule,
    args: [{ index: when.argument, value: mask, valueTwo: value, op: 'SCMP_CMP_MASKED_EQ' }],
  });
  switch (when.kind) {
    case 'any-bit':
      return Array.from({ length: 31 }, (_, bit) => 2 ** bit)
        .filter((bit) => (when.mask & bit) !== 0)
        .map((bit) => masked(bit, bit));
    case 'equal':
      return when.values.map((value) => masked(LOW_BITS, value));
    case 'other-than':
      return Array.from({ length: MOST_FAMILIES }, (_, value) => value)
        .filter((value) => !when.values.includes(value))
        .map((value) => masked(LOW_BITS, value));
  }
}

function actionOf(action: string, errno: number = ERRNO.EPERM): SeccompAction {
  switch (action) {
    case 'SCMP_ACT_ALLOW':
      return { kind: 'allow' };
    case 'SCMP_ACT_LOG':
      return { kind: 'log' };
    case 'SCMP_ACT_TRAP':
      return { kind: 'trap' };
    case 'SCMP_ACT_ERRNO':
      return { kind: 'errno', errno };
    default:
      return { kind: 'kill' };
  }
}

/** As runtimes read it: all conditions must hold, but where two are on the same argument each stands alone. */
function alternatives(args: readonly OciArgument[]): (readonly OciArgument[])[] {
  const once = new Set(args.map(({ index }) => index)).size === args.length;
  return once ? [args] : args.map((arg) => [arg]);
}

const TESTS: Readonly<Record<string, SeccompCondition['test']>> = {
  SCMP_CMP_NE: 'not-equal',
  SCMP_CMP_LT: 'less',
  SCMP_CMP_LE: 'less-or-equal',
  SCMP_CMP_EQ: 'equal',
  SCMP_CMP_GE: 'greater-or-equal',
  SCMP_CMP_GT: 'greater',
};

export const OCI_OPERATORS: readonly string[] = [...Object.keys(TESTS), 'SCMP_CMP_MASKED_EQ'];

function conditionOf({ index, value, valueTwo = 0, op }: OciArgument): SeccompCondition {
  const test = TESTS[op];
  const text = (number: number) => String(BigInt(number));
  return test === undefined
    ? { argument: index, mask: text(value), test: 'equal', value: text(valueTwo) }
    : { argument: index, mask: ALL_BITS, test, value: text(value) };
}
