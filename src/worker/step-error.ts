/** How a program of a step ended, said to the one who has to act. */
import { DefinitionError, HostError, StepError } from '../errors.ts';
import type { OwnerKeeping } from '../executor/owners.ts';
import { subuidHint } from '../executor/run-program.ts';
import type { Outcome, SandboxKind } from '../executor/sandbox.ts';
import type { StepOutput } from '../executor/step-output.ts';
import type { ExecAction } from '../graph/action.ts';

/** What a shell ends with (POSIX, Shell Command Language, 2.8.2). */
const COMMAND_NOT_FOUND = 127;

export function stepError(
  action: Pick<ExecAction, 'argv' | 'timeoutMs' | 'limits' | 'cwd' | 'user' | 'ulimits' | 'hintIfMissing'>,
  outcome: Outcome,
  output: StepOutput,
  logPath: string | undefined,
  ownerKeeping: OwnerKeeping,
  ranIn?: SandboxKind,
): Error {
  const program = action.argv[0] ?? '';
  const details = { argv: action.argv, logTail: output.tail(), logPath };
  switch (outcome.reason) {
    case 'exit':
      return new StepError(`the step ended with status ${outcome.exitCode}`, {
        ...details,
        code: 'E_BUILD_FAILED',
        reason: 'exit',
        exitCode: outcome.exitCode,
        hint:
          (outcome.exitCode === COMMAND_NOT_FOUND ? action.hintIfMissing : undefined) ??
          (outcome.reachedPids === true
            ? `it had the ${action.limits?.pids} processes that it may have; give it more with --pids-limit`
            : undefined) ??
          newPrivilegesHint(output.tail(), ranIn) ??
          (ownerKeeping === 'pretended' ? singleIdHint(output.tail()) : undefined),
      });
    case 'signal':
      return new StepError(`the step was ended by ${outcome.signal}`, {
        ...details,
        code: 'E_BUILD_SIGNAL',
        reason: 'signal',
        signal: outcome.signal,
        hint: outcome.signal === 'SIGKILL' ? 'the machine may have run out of memory' : undefined,
      });
    case 'memory':
      return new StepError(
        `the step needs more than the ${formatMemory(action.limits?.memoryBytes ?? 0)} of memory that it may use`,
        {
          ...details,
          code: 'E_BUILD_MEMORY',
          reason: 'memory',
          hint: 'give it more: --memory, or the option memory of the call',
        },
      );
    case 'timeout':
      return new StepError(`the step ran longer than ${action.timeoutMs} ms`, {
        ...details,
        code: 'E_BUILD_TIMEOUT',
        reason: 'timeout',
      });
    case 'not-started':
      if (outcome.stage === 'user') {
        return new HostError(`cannot become user '${action.user}': ${outcome.errno}`, {
          code: 'E_SUBUID_MISSING',
          errno: outcome.errno,
          hint: subuidHint(),
        });
      }
      if (outcome.stage === 'terminal') {
        return new HostError(`cannot open a terminal in the sandbox: ${outcome.errno}`, {
          code: 'E_TERMINAL',
          errno: outcome.errno,
          hint: 'leave out -t: `-i` alone hands standard input on without a terminal',
        });
      }
      if (outcome.stage === 'limit') {
        return limitError(action, outcome.detail ?? '', outcome.errno);
      }
      if (outcome.detail === 'seccomp') {
        return new HostError(`the kernel does not take the seccomp profile: ${outcome.errno}`, {
          code: 'E_SECCOMP',
          errno: outcome.errno,
          hint: 'with --seccomp unconfined steps run without one',
        });
      }
      return new StepError(notStarted(program, action.cwd, outcome), {
        ...details,
        code: 'E_STEP_NOT_STARTED',
        reason: 'not-started',
        hint: action.hintIfMissing ?? noShellHint(program, outcome),
      });
  }
}

const MIB = 1024 ** 2;

function formatMemory(bytes: number): string {
  return `${Number((bytes / MIB).toFixed(1))} MiB`;
}

function limitError({ ulimits = [] }: Pick<ExecAction, 'ulimits'>, name: string, errno: string): Error {
  const asked = ulimits.findLast((limit) => limit.name === name);
  const text = `${name}=${asked?.soft ?? ''}:${asked?.hard ?? ''}`;
  switch (errno) {
    case 'ENOENT':
      return new DefinitionError(`there is no resource limit '${name}'`, { code: 'E_ARG_TYPE' });
    case 'EINVAL':
      return new DefinitionError(`cannot set the resource limit ${text}: the first is above the second`, {
        code: 'E_ARG_TYPE',
      });
    default:
      return new HostError(
        `cannot set the resource limit ${text}: this machine gives a build less than that`,
        {
          code: 'E_ULIMIT',
          errno,
          hint: `\`prlimit --${name}\` shows what you have; ask for no more, or have it raised in /etc/security/limits.conf`,
        },
      );
  }
}

function notStarted(program: string, cwd: string, outcome: Outcome & { reason: 'not-started' }): string {
  if (outcome.stage === 'cwd') {
    return `cannot enter the working directory '${cwd}': ${outcome.errno}`;
  }
  if (outcome.detail === 'interpreter') {
    return `cannot run '${program}': the interpreter or loader that it names is not in the image`;
  }
  switch (outcome.errno) {
    case 'ENOENT':
      return `cannot run '${program}': not found in the image${program.includes('/') ? '' : ' on its PATH'}`;
    case 'EACCES':
      return `cannot run '${program}': permission denied (is it executable?)`;
    case 'ENOEXEC':
      return `cannot run '${program}': not a program of this machine's architecture, and no script with #!`;
    default:
      return `cannot run '${program}': ${outcome.errno}`;
  }
}

/** Of images that only hold files, such as those from scratch. */
function noShellHint(program: string, outcome: Outcome & { reason: 'not-started' }): string | undefined {
  const isMissing = outcome.stage !== 'cwd' && outcome.detail !== 'interpreter' && outcome.errno === 'ENOENT';
  return isMissing && /(^|\/)(ba|da|a)?sh$/.test(program)
    ? 'the image has no shell: begin with one that has, or write the command as a JSON array of strings'
    : undefined;
}

/** What `sudo`, `doas`, `su` and `newgrp` say where set-user-ID programs have no effect. */
function newPrivilegesHint(tail: string, ranIn: SandboxKind | undefined): string | undefined {
  if (
    !/no new privileges|effective uid is not 0|must be (?:setuid|suid)|not installed setuid root/i.test(tail)
  ) {
    return undefined;
  }
  return ranIn === 'bubblewrap'
    ? 'set-user-ID programs have no effect in bubblewrap: sudo apt-get install runc, and use --sandbox runc'
    : 'set-user-ID programs have no effect on a file system that is mounted nosuid: set TSBUILD_HOME to a directory on another';
}

/** What is only pretended comes to light when a program looks. */
function singleIdHint(tail: string): string | undefined {
  return /Invalid argument|EINVAL|chown|chgrp|setgroups|setegid|seteuid/i.test(tail)
    ? `only one user id is available here, so that files cannot be given to other users: ${subuidHint()}`
    : undefined;
}
