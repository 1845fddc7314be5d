import { UsageError } from '../errors.ts';

/** An agent that is lent to steps, as buildx has it: `--ssh default`, `--ssh id=/path/to/socket`, `--ssh id=key1,key2`. */
export interface SshAgentSpec {
  readonly id: string;
  /** One socket, or files with private keys. Empty is the user's own agent, SSH_AUTH_SOCK. */
  readonly paths: readonly string[];
  /** Hand every request to the socket, not only those that list keys and sign. */
  readonly raw: boolean;
}

/** @throws {UsageError} `E_USAGE` */
export function parseSshAgent(text: string): SshAgentSpec {
  const equals = text.indexOf('=');
  const id = equals < 0 ? text : text.slice(0, equals);
  if (id === '') {
    throw usage('it has no id');
  }
  let raw = false;
  const paths: string[] = [];
  for (const part of equals < 0 ? [] : text.slice(equals + 1).split(',')) {
    if (part.startsWith('raw=')) {
      raw = switchOf(part.slice('raw='.length));
    } else if (part === '') {
      throw usage(`'${id}' has an empty path`);
    } else {
      paths.push(part);
    }
  }
  if (raw && paths.length !== 1) {
    throw usage(`'${id}' is raw, which takes the path of one socket`);
  }
  return { id, paths, raw };
}

function switchOf(text: string): boolean {
  if (text === 'true' || text === '1') {
    return true;
  }
  if (text === 'false' || text === '0') {
    return false;
  }
  throw usage(`raw is neither true nor false: '${text}'`);
}

function usage(problem: string): UsageError {
  return new UsageError(`bad ssh agent: ${problem}`, {
    code: 'E_USAGE',
    hint: 'write default, ID=/path/to/socket or ID=KEYFILE,KEYFILE',
  });
}
