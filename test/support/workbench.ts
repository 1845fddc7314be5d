/** Dockerfiles that are built by the command as a user has it, in a directory and a store of their own. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { busyboxPath } from './busybox.ts';
import { readImage } from './layout-validation.ts';
import type { Leaf } from './temporary-tree.ts';
import { type Ran, type RunSetting, run } from './tsbuild.ts';

/** First lines of a Dockerfile whose stages may say `FROM sh`; needs `busybox` in the context. */
export const SHELL_STAGE = 'FROM scratch AS sh\nCOPY busybox /bin/sh\nENV PATH=/bin\n';

export interface WorkbenchImage {
  readonly ran: Ran;
  readonly digest: string;
  readonly diffIds: readonly string[];
  readonly config: ImageConfigJson;
  /** Names in the tar archive of each layer. */
  readonly layers: readonly (readonly string[])[];
  /** Content of a file in the topmost layer that has it. @throws when none has. */
  read(path: string): string;
  /** Lines of `tar -tv` with numeric owners about a path, from the topmost layer that has it. */
  stat(path: string): string;
}

export interface ImageConfigJson {
  readonly config?: {
    readonly Env?: readonly string[];
    readonly Cmd?: readonly string[];
    readonly Entrypoint?: readonly string[];
    readonly WorkingDir?: string;
    readonly User?: string;
    readonly Labels?: Readonly<Record<string, string>>;
    readonly OnBuild?: readonly string[];
  };
  readonly history?: readonly { readonly created_by?: string; readonly empty_layer?: boolean }[];
}

export class Workbench implements Disposable {
  readonly directory: string;
  readonly #setting: RunSetting;
  #images = 0;

  /** @param setting - Of every command; its account owns the directory. */
  constructor(setting: RunSetting = {}) {
    this.directory = mkdtempSync(join(setting.account?.home ?? tmpdir(), 'tsbuild-dockerfile-'));
    chmodSync(this.directory, 0o755);
    if (setting.account !== undefined) {
      chownSync(this.directory, setting.account.uid, setting.account.gid);
    }
    this.#setting = setting;
  }

  at(...parts: readonly string[]): string {
    return join(this.directory, ...parts);
  }

  /** Writes files of a context; `busybox` comes along. @returns Its path. */
  context(name: string, leaves: Readonly<Record<string, Leaf>>): string {
    this.write(Object.fromEntries(Object.entries(leaves).map(([path, leaf]) => [`${name}/${path}`, leaf])));
    execFileSync('cp', [busyboxPath(), this.at(name, 'busybox')]);
    return this.at(name);
  }

  write(leaves: Readonly<Record<string, Leaf>>): void {
    for (const [name, leaf] of Object.entries(leaves)) {
      const path = this.at(name);
      mkdirSync(leaf === null ? path : dirname(path), { recursive: true });
      if (typeof leaf === 'string' || leaf instanceof Uint8Array) {
        writeFileSync(path, leaf);
      } else if (leaf !== null && 'link' in leaf) {
        symlinkSync(leaf.link, path);
      } else if (leaf !== null) {
        writeFileSync(path, leaf.text);
        chmodSync(path, leaf.mode);
      }
    }
  }

  /** Runs `tsbuild`, to whatever end. */
  run(args: readonly string[], setting: RunSetting = {}): Promise<Ran> {
    return run(args, {
      cwd: this.directory,
      ...this.#setting,
      ...setting,
      env: {
        TSBUILD_HOME: this.at('store'),
        HOME: this.at('home'),
        TMPDIR: this.#tmp(),
        ...this.#setting.env,
        ...setting.env,
      },
    });
  }

  /** Runs `tsbuild build` to whatever end. */
  build(args: readonly string[], setting: RunSetting = {}): Promise<Ran> {
    return this.run(['build', '--progress=plain', ...args], setting);
  }

  /** Builds one image and looks into it. */
  async image(args: readonly string[], setting: RunSetting = {}): Promise<WorkbenchImage> {
    this.#images += 1;
    const layout = this.at(`image-${this.#images}`);
    const spec = `type=oci,dest=${layout},tar=false`;
    const ran = await this.build(['-o', spec, ...args], setting);
    if (ran.status !== 0) {
      throw new Error(`tsbuild build ${args.join(' ')} ended with ${ran.status}:\n${ran.stderr}`);
    }
    return lookInto(layout, ran);
  }

  /** What a build may leave behind only while it runs: names in the store's scratch directory and in TMPDIR, and mounts. */
  leftovers(): readonly string[] {
    const names = (path: string) => readdirSync(path).map((name) => join(path, name));
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(this.directory));
    return [...names(this.at('store/tmp')), ...names(this.#tmp()), ...mounts, ...this.processes()];
  }

  /** Command lines of processes that have this bench in their environment or arguments. */
  processes(): readonly string[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .flatMap((pid) => {
        try {
          const [environment = '', line = ''] = ['environ', 'cmdline'].map((file) =>
            readFileSync(`/proc/${pid}/${file}`, 'utf8'),
          );
          return `${environment}${line}`.includes(this.directory) ? [line.replaceAll('\0', ' ')] : [];
        } catch {
          // It ended while we looked.
          return [];
        }
      });
  }

  /** Every file below the bench that holds the text, in whatever of the usual encodings. */
  filesWith(text: string): readonly string[] {
    const forms = [text, Buffer.from(text).toString('base64').replace(/=+$/, ''), encodeURIComponent(text)];
    return readdirSync(this.directory, { recursive: true, withFileTypes: true }).flatMap((entry) => {
      if (!entry.isFile()) {
        return [];
      }
      const path = join(entry.parentPath, entry.name);
      const bytes = readFileSync(path);
      return forms.some((form) => bytes.includes(form)) ? [path] : [];
    });
  }

  #tmp(): string {
    const path = this.at('tmp');
    mkdirSync(path, { recursive: true });
    if (this.#setting.account !== undefined) {
      chownSync(path, this.#setting.account.uid, this.#setting.account.gid);
    }
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function lookInto(layout: string, ran: Ran): WorkbenchImage {
  const { digest, manifest, config } = readImage(layout);
  const blobs = manifest.layers.map((layer) => join(layout, 'blobs', layer.digest.replace(':', '/')));
  const tar = (args: readonly string[]) =>
    execFileSync('tar', args, { encoding: 'utf8', maxBuffer: 2 ** 30 });
  const layers = blobs.map((blob) =>
    tar(['-tf', blob])
      .split('\n')
      .filter((name) => name !== ''),
  );
  const find = (path: string) => {
    const index = layers.findLastIndex((names) => names.includes(path) || names.includes(`${path}/`));
    if (index < 0) {
      throw new Error(`no layer has '${path}': ${JSON.stringify(layers)}`);
    }
    const name = layers[index]?.includes(path) ? path : `${path}/`;
    return { blob: blobs[index] as string, name };
  };
  return {
    ran,
    digest,
    diffIds: config.rootfs.diff_ids,
    config: config as ImageConfigJson,
    layers,
    read(path) {
      const { blob, name } = find(path);
      return tar(['-xOf', blob, name]);
    },
    stat(path) {
      const { blob, name } = find(path);
      return tar(['--numeric-owner', '--full-time', '--no-recursion', '-tvf', blob, name]).trim();
    },
  };
}

/** Names of the steps that ran, in the order in which progress shows them; `CACHED` ones are not among them. */
export function ranSteps({ stderr }: Ran): readonly string[] {
  const names = new Map<string, string>();
  const ran: string[] = [];
  for (const line of stderr.split('\n')) {
    const named = /^#(\d+) (\[.*)$/.exec(line);
    if (named !== null) {
      names.set(named[1] ?? '', named[2] ?? '');
    }
    const done = /^#(\d+) DONE /.exec(line);
    const name = names.get(done?.[1] ?? '');
    if (name !== undefined && !name.startsWith('[internal]')) {
      ran.push(name);
    }
  }
  return ran;
}
