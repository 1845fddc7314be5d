/** `docker-credential-NAME get|store|erase`: the protocol of docker-credential-helpers. */
import { spawn } from 'node:child_process';
import { redactText } from '../../base/redact.ts';
import { HostError } from '../../errors.ts';
import { isObject } from '../../oci/json-document.ts';

export interface HelperAnswer {
  readonly username: string;
  readonly secret: string;
}

const TIMEOUT_MS = 30_000;
const MAX_OUTPUT_BYTES = 64 * 1024;

/**
 * @returns what `get` found; undefined when the helper has nothing, and for the other actions
 * @throws {HostError} `E_IO` with the helper's name; never with what it was given
 */
export async function runCredentialHelper(
  name: string,
  action: 'get' | 'store' | 'erase',
  input: string,
  environment: NodeJS.ProcessEnv,
): Promise<HelperAnswer | undefined> {
  const program = `docker-credential-${name}`;
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) {
    throw new HostError(`cannot run credential helper '${name.slice(0, 64)}': not a program name`, {
      code: 'E_IO',
    });
  }
  const { status, output } = await run(program, action, input, environment);
  if (status !== 0) {
    if (/credentials not found|no credentials server URL|not found in native keychain/i.test(output)) {
      return undefined;
    }
    throw new HostError(
      `credential helper '${program}' failed (${status}): ${redactText(output.trim(), 300)}`,
      {
        code: 'E_IO',
      },
    );
  }
  if (action !== 'get') {
    return undefined;
  }
  let answer: unknown;
  try {
    answer = JSON.parse(output);
  } catch {
    answer = undefined;
  }
  if (!isObject(answer) || typeof answer.Username !== 'string' || typeof answer.Secret !== 'string') {
    throw new HostError(`credential helper '${program}' did not answer with Username and Secret`, {
      code: 'E_IO',
    });
  }
  return { username: answer.Username, secret: answer.Secret };
}

function run(program: string, action: string, input: string, environment: NodeJS.ProcessEnv) {
  return new Promise<{ readonly status: number | string; readonly output: string }>((resolve, reject) => {
    const child = spawn(program, [action], {
      env: environment,
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(0, MAX_OUTPUT_BYTES);
    });
    child.on('error', (cause) => {
      const errno = (cause as NodeJS.ErrnoException).code;
      reject(
        new HostError(`cannot run credential helper '${program}': ${errno}`, {
          code: 'E_IO',
          errno,
          syscall: 'spawn',
          cause,
        }),
      );
    });
    child.on('close', (status, signal) => resolve({ status: status ?? signal ?? 'unknown', output }));
    // A helper that does not read its input is no reason to fail.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}
