import { posix } from 'node:path';
import type { ContainerConfig } from '../../oci/image-config.ts';
import type { ConfigChange } from './layer-definition.ts';
import { DEFAULT_PATH } from './step-environment.ts';

const DEFAULT_SHELL = ['/bin/sh', '-c'];

/** A container's configuration while a chain of calls changes it. */
export class ConfigState {
  readonly #base: ContainerConfig;
  readonly #environment: Map<string, string>;
  #entrypoint: readonly string[] | null | undefined;
  #cmd: readonly string[] | null | undefined;
  #cmdIsOurs = false;
  #shell: readonly string[] | undefined;
  #workingDir: string | undefined;
  #user: string | undefined;

  constructor(base: ContainerConfig) {
    this.#base = base;
    this.#environment = new Map((base.Env ?? []).map(splitVariable));
    this.#entrypoint = base.Entrypoint;
    this.#cmd = base.Cmd;
    this.#shell = base.Shell;
    this.#workingDir = base.WorkingDir || undefined;
    this.#user = base.User;
  }

  apply(change: ConfigChange): void {
    switch (change.kind) {
      case 'env':
        this.#environment.set(change.name, change.value);
        return;
      case 'prepend-env': {
        const { name, value } = change;
        const before = this.#environment.get(name) ?? (name === 'PATH' ? DEFAULT_PATH : '');
        const existing = before.split(':').filter((path) => path !== '');
        if (!existing.includes(value)) {
          this.#environment.set(name, [value, ...existing].join(':'));
        }
        return;
      }
      case 'entrypoint':
        this.#entrypoint = change.argv;
        // Docker's rule with the whole chain as one stage (E12): what the base left is cleared, our own stays.
        if (!this.#cmdIsOurs) {
          this.#cmd = undefined;
        }
        return;
      case 'cmd':
        this.#cmd = change.argv;
        this.#cmdIsOurs = true;
        return;
      case 'shell':
        this.#shell = change.argv;
        return;
      case 'user':
        this.#user = change.user;
        return;
    }
  }

  enter(directory: string): void {
    this.#workingDir = this.resolve(directory).replace(/(.)\/$/, '$1');
  }

  /** Absolute; a slash at the end stays, for it says that a directory is meant. */
  resolve(path: string): string {
    const absolute = posix.normalize(path.startsWith('/') ? path : `${this.workingDir}/${path}`);
    return absolute.replace(/^\/+/, '/');
  }

  get environment(): ReadonlyMap<string, string> {
    return this.#environment;
  }

  get workingDir(): string {
    return posix.resolve('/', this.#workingDir ?? '/');
  }

  get user(): string {
    return this.#user ?? '';
  }

  get shell(): readonly string[] {
    return this.#shell !== undefined && this.#shell.length > 0 ? this.#shell : DEFAULT_SHELL;
  }

  toContainerConfig(): ContainerConfig {
    const {
      Env: _env,
      Entrypoint: _entrypoint,
      Cmd: _cmd,
      Shell: _shell,
      WorkingDir: _dir,
      ...rest
    } = this.#base;
    return Object.freeze({
      ...rest,
      ...(this.#environment.size === 0
        ? {}
        : { Env: [...this.#environment].map(([name, value]) => `${name}=${value}`) }),
      ...(this.#entrypoint === undefined ? {} : { Entrypoint: this.#entrypoint }),
      ...(this.#cmd === undefined ? {} : { Cmd: this.#cmd }),
      ...(this.#shell === undefined ? {} : { Shell: this.#shell }),
      ...(this.#workingDir === undefined ? {} : { WorkingDir: this.#workingDir }),
      ...(this.#user === this.#base.User ? {} : { User: this.#user ?? '' }),
    });
  }
}

function splitVariable(text: string): [string, string] {
  const equals = text.indexOf('=');
  return equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)];
}
