/** A chain of calls as one Dockerfile and the files that it needs (A3.9 of the Image API). */

import type { Secret } from '../../secret/secret.ts';
import type { DockerfileDeclaration } from '../dockerfile/declaration.ts';
import { embedDockerfile, quotedWord } from '../dockerfile/embed.ts';
import type { ArgInstruction, Directives, Stage, StageInstruction } from '../dockerfile/instruction.ts';
import type { NamedContextSpec } from '../dockerfile/named-context.ts';
import { parseDockerfile } from '../dockerfile/parse.ts';
import { printInstruction } from '../dockerfile/print.ts';
import { definitionError } from './arguments.ts';
import { copyWords } from './copy-file-step.ts';
import { type Image, imageParts } from './image.ts';
import type { PlanOptions } from './image-engine.ts';
import type { CopyLocalStep, LayerDefinition, RunStep, Step } from './layer-definition.ts';
import type { LocalInput, ScannedFiles } from './local-input.ts';
import type { PlanSurroundings } from './plan.ts';
import { type ContextsOf, type PlannedContext, planContexts } from './plan-contexts.ts';
import { PYTHON_ROOT } from './python-source-layer.ts';
import { type ResolvedBase, resolveBase } from './resolve-base.ts';
import { resolveLayers } from './resolve-layers.ts';

/** A file that the context of the Dockerfile must hold. */
export interface DockerfileContextFile {
  /** Where its content is on this machine; undefined for links and empty directories. */
  readonly localPath?: string;
  /** Hex. */
  readonly sha256: string;
  /** That it must have there, whatever it has here. */
  readonly mode: number;
  /** Target, for a link. */
  readonly link?: string;
}

export interface DockerfileExport {
  readonly text: string;
  /** By path in the context. One that ends in `/` is an empty directory. */
  readonly context: Readonly<Record<string, DockerfileContextFile>>;
  /** Further contexts by name, as `buildContexts` and `--build-context` take them. */
  readonly buildContexts: Readonly<Record<string, string>>;
  /** Ids of the secrets that the build has to be given. */
  readonly secrets: readonly string[];
  /** What the text cannot say and therefore does not. It is in comments, too. */
  readonly notes: readonly string[];
}

/** A file as a scan finds it. */
export interface LocatedFile {
  readonly path: string;
  readonly kind: 'file' | 'symlink' | 'directory';
  readonly hostPath?: string;
}

export interface DockerfileSurroundings extends Omit<PlanSurroundings, 'scan' | 'contextsOf'> {
  readonly scan: (input: LocalInput) => Promise<ScannedFiles & { readonly files: readonly LocatedFile[] }>;
  readonly contextsOf: ContextsOf;
}

/**
 * @throws {DefinitionError} `E_NO_DOCKERFILE` for what no Dockerfile can say, and what planning the image throws.
 */
export async function toDockerfile(
  image: Image,
  options: PlanOptions,
  surroundings: DockerfileSurroundings,
): Promise<DockerfileExport> {
  const { layers: calls, mounts } = imageParts(image);
  const layers = await resolveLayers(calls, surroundings.scan);
  const [first] = layers as [LayerDefinition, ...LayerDefinition[]];
  const base = await resolveBase(first.base as NonNullable<LayerDefinition['base']>, options, surroundings);
  const contexts = await planContexts(layers, base.platform, surroundings.contextsOf);
  const writer = new DockerfileWriter(surroundings);
  await writer.begin(first, base, contexts.get(0), surroundings);
  for (const [index, layer] of layers.entries()) {
    writer.comment(`${index + 1}/${layers.length} ${layer.method}`);
    const steps = [...(index === 0 ? base.steps : []), ...layer.steps];
    await writer.layer(layer, steps, index, contexts.get(index));
  }
  for (const [index, { kind, input }] of mounts.entries()) {
    writer.comment(`files that are mounted when a container starts`);
    await writer.copyFinal(input, `tsbuild/mount-${index}`);
    if (kind === 'pythonSource') {
      writer.line(prependLine('PYTHONPATH', PYTHON_ROOT));
    }
  }
  return writer.result();
}

/** Nothing is behind the value where the variable is not set. */
function prependLine(name: string, value: string): string {
  return `ENV ${name}=${value}\${${name}:+:$${name}}`;
}

/** Holds what grows along the chain. */
class DockerfileWriter {
  readonly #scan: DockerfileSurroundings['scan'];
  #directives: Pick<Directives, 'escape' | 'check'> = { escape: '\\', check: undefined };
  readonly #globalArgs: string[] = [];
  readonly #lines: string[] = [];
  /** Name of the stage that is being written, if others can name it. */
  #stage = 'tsbuild-0';
  #stages = 0;
  /** Instructions may follow. After a Dockerfile another stage must begin first. */
  #open = false;
  /** By names of files, which may be `__proto__`. */
  readonly #context = Object.create(null) as Record<string, DockerfileContextFile>;
  readonly #buildContexts: Record<string, string> = {};
  readonly #secretIds = new Map<string, Secret>();
  readonly #givenIds = new Set<string>();
  readonly #notes: string[] = [];
  #comment: string | undefined;

  constructor({ scan }: DockerfileSurroundings) {
    this.#scan = scan;
  }

  async begin(
    first: LayerDefinition,
    base: ResolvedBase,
    context: PlannedContext | undefined,
    { readDockerfile }: DockerfileSurroundings,
  ): Promise<void> {
    const { source } = base;
    switch (source.kind) {
      case 'stored':
        throw inexpressible('its base is an image of the store of this machine');
      case 'scratch':
        this.#from('scratch', undefined);
        return;
      case 'image':
        this.#from(source.reference, first.base?.platform);
        return;
      case 'layout': {
        const { hostPath, tag } = source.layout;
        this.#buildContexts['tsbuild-base'] = `oci-layout://${hostPath}${tag === undefined ? '' : `:${tag}`}`;
        this.#from('tsbuild-base', first.base?.platform);
        return;
      }
      case 'debian': {
        const { suite, packages, snapshot } = source;
        this.#note(
          `the base is assembled from Debian's archive${snapshot === undefined ? '' : ` as of ${snapshot}`}; an image of its suite is the nearest`,
        );
        this.#from(`debian:${suite}-slim`, first.base?.platform);
        if (packages.length > 0) {
          this.line(`RUN apt-get update && apt-get install -y ${packages.join(' ')}`);
        }
        return;
      }
      case 'dockerfile': {
        const { declaration } = source;
        const read = await readDockerfile(declaration);
        if (read === undefined) {
          throw inexpressible(`${first.method}(): its Dockerfile lies in a remote context`);
        }
        this.#whole(first, declaration, read.text, read.name, 0, context);
        return;
      }
    }
  }

  async layer(
    layer: LayerDefinition,
    steps: readonly Step[],
    index: number,
    context: PlannedContext | undefined,
  ): Promise<void> {
    if (layer.gpu.length > 0) {
      this.#note(`${layer.method}() asks for a GPU; give the build one with --gpus`);
    }
    if ((layer.volumes ?? []).length > 0) {
      this.#note(`${layer.method}() has volumes, which its commands do not see here`);
    }
    for (const step of steps) {
      switch (step.kind) {
        case 'run':
          await this.#run(layer, step, `tsbuild/${index}`);
          break;
        case 'copy-local':
          await this.#copy(step, `tsbuild/${index}`);
          break;
        case 'config':
          if (step.change.kind === 'prepend-env') {
            this.line(prependLine(step.change.name, step.change.value));
          } else if (step.text.includes('\n')) {
            throw inexpressible(`${layer.method}(): a value holds a line break`);
          } else {
            this.line(step.text);
          }
          break;
        case 'dockerfile': {
          const { file } = step.declaration;
          const text = file.kind === 'text' ? file.text : '';
          this.#whole(layer, step.declaration, text, `${layer.method}()`, index, context);
          break;
        }
        case 'copy-python':
          this.#copyPython(layer.method, step.series);
          break;
        case 'workdir':
          if (step.path.includes('\n')) {
            throw inexpressible(`${layer.method}(): a path holds a line break`);
          }
          this.line(step.text);
          break;
        case 'copy-tool':
          this.line(step.text);
          break;
        default:
          throw inexpressible(`${layer.method}() runs a function of this program`);
      }
    }
  }

  /** Files that the plan has at their final paths. */
  async copyFinal(input: LocalInput, directory: string): Promise<void> {
    const { form } = await this.#addFiles(input, directory);
    const at = form === 'file' ? input.fileAt : input.directoryAt;
    const source = `${directory}${at}`;
    this.#copyLine(form === 'file' ? source : withSlash(source), form === 'file' ? at : withSlash(at));
  }

  comment(text: string): void {
    this.#comment = text;
  }

  line(text: string): void {
    if (!this.#open) {
      this.#startStage(`FROM ${this.#stage}`);
    }
    this.#writeComment();
    this.#lines.push(text);
  }

  result(): DockerfileExport {
    const { escape: escapeCharacter, check } = this.#directives;
    const head = [
      '# syntax=docker/dockerfile:1',
      ...(escapeCharacter === '\\' ? [] : [`# escape=${escapeCharacter}`]),
      ...(check === undefined ? [] : [`# check=${check}`]),
      '',
      ...this.#notes.map((note) => `# Not said below: ${note}.`),
      ...this.#globalArgs,
    ];
    return Object.freeze({
      text: `${[...head, ...this.#lines].join('\n')}\n`,
      context: Object.freeze(sortedRecord(this.#context)),
      buildContexts: Object.freeze({ ...this.#buildContexts }),
      secrets: Object.freeze([...new Set([...this.#secretIds.keys(), ...this.#givenIds])].sort()),
      notes: Object.freeze([...this.#notes]),
    });
  }

  #from(base: string, platform: string | undefined): void {
    this.#startStage(`FROM ${platform === undefined ? '' : `--platform=${platform} `}${base}`);
  }

  #startStage(from: string): void {
    this.#stage = `tsbuild-${this.#stages}`;
    this.#stages += 1;
    if (this.#lines.length > 0) {
      this.#lines.push('');
    }
    this.#writeComment();
    this.#lines.push(`${from} AS ${this.#stage}`);
    this.#open = true;
  }

  #writeComment(): void {
    if (this.#comment !== undefined) {
      this.#lines.push(`# ${this.#comment}`);
      this.#comment = undefined;
    }
  }

  #note(text: string): void {
    if (!this.#notes.includes(text)) {
      this.#notes.push(text);
    }
  }

  /** All stages of a Dockerfile: the base's, or lines on top of what there is. */
  #whole(
    layer: LayerDefinition,
    declaration: DockerfileDeclaration,
    text: string,
    name: string,
    index: number,
    context: PlannedContext | undefined,
  ): void {
    const { method } = layer;
    const dockerfile = parseDockerfile(text, { name });
    // A base that is a Dockerfile is what the text begins with.
    const continues = this.#lines.length > 0;
    if (continues && this.#directives.escape !== '\\') {
      throw inexpressible(`${method}(): the Dockerfile of the base has another escape character`);
    }
    if (!continues) {
      const { escape: escapeCharacter, check } = dockerfile.directives;
      this.#directives = { escape: escapeCharacter, check };
    }
    if (Object.values(declaration.buildArgs).some((value) => value.includes('\n'))) {
      throw inexpressible(`${method}(): a build arg holds a line break`);
    }
    // They stand in lines of their own, where the rest of a value would be an instruction.
    if (Object.values(layer.env).some((value) => value.includes('\n'))) {
      throw inexpressible(`${method}(): a variable of its steps holds a line break`);
    }
    if (
      Object.entries(declaration.labels)
        .flat()
        .some((word) => word.includes('\n'))
    ) {
      throw inexpressible(`${method}(): a label holds a line break`);
    }
    const directory = continues ? `tsbuild/${index}` : '';
    const { globalArgs, stages } = embedDockerfile(dockerfile, {
      stagePrefix: continues ? `tsbuild-${index}-` : '',
      base: continues ? this.#stage : undefined,
      directory,
      buildArgs: declaration.buildArgs,
      network: declaration.network,
      mounts: this.#secretMounts(layer),
      prelude: prelude(layer.env, []),
    });
    this.#noteDeclaration(method, declaration);
    this.#addContext(context ?? NO_CONTEXT, directory, method);
    this.#globalArgs.push(...globalArgs.flatMap((each) => this.#printed(each)));
    for (const stage of stages) {
      if (this.#lines.length > 0) {
        this.#lines.push('');
      }
      this.#writeComment();
      this.#lines.push(...[stage.from, ...stage.instructions].flatMap((each) => this.#printed(each)));
    }
    this.#endWhole(stages, declaration);
  }

  #endWhole(stages: readonly Stage[], { target, labels }: DockerfileDeclaration): void {
    const last = stages.at(-1) as Stage;
    const wanted =
      target === undefined ? last : stages.findLast(({ from }) => isNamed(from.stageName, target));
    this.#stage = wanted?.from.stageName ?? (target as string);
    this.#open = false;
    if (wanted?.instructions.some(({ kind }) => kind === 'onbuild') === true) {
      this.#note('triggers of ONBUILD run where a stage of this file begins with the stage that has them');
    }
    const entries = Object.entries(labels);
    if (entries.length > 0) {
      this.line(
        `LABEL ${entries.map(([key, value]) => `${quotedWord(key)}=${quotedWord(value)}`).join(' ')}`,
      );
      this.#open = false;
    } else if (wanted !== last) {
      this.#startStage(`FROM ${this.#stage}`);
      this.#open = false;
    }
  }

  #printed(instruction: ArgInstruction | Stage['from'] | StageInstruction): string[] {
    return printInstruction(instruction, this.#directives.escape);
  }

  #noteDeclaration(method: string, declaration: DockerfileDeclaration): void {
    const said: readonly (readonly [boolean, string])[] = [
      [declaration.extraHosts.length > 0, '--add-host'],
      [declaration.shmSizeBytes !== undefined, '--shm-size'],
      [declaration.ulimits.length > 0, '--ulimit'],
      [declaration.devices.length > 0, '--device'],
      [declaration.allow.length > 0, '--allow'],
      [declaration.ssh.length > 0, '--ssh'],
    ];
    const flags = said.flatMap(([given, flag]) => (given ? [flag] : []));
    if (flags.length > 0) {
      this.#note(`${method}() is built with ${flags.join(', ')}`);
    }
    for (const { id } of declaration.secrets) {
      this.#givenIds.add(id);
    }
    for (const [name, spec] of Object.entries(declaration.contexts)) {
      this.#buildContexts[name] = contextText(spec);
    }
  }

  #addContext({ files, given, complete }: PlannedContext, directory: string, method: string): void {
    if (!complete) {
      this.#note(`${method}() reads files whose names depend on variables of its base; they are not listed`);
    }
    const prefix = directory === '' ? '' : `${directory}/`;
    for (const [path, { hostPath, sha256, mode, link }] of [...files, ...given]) {
      // Those of a named context come from there.
      if (path.startsWith('/')) {
        this.#context[`${prefix}${path.slice(1)}`] = {
          ...(hostPath === undefined || link !== undefined || path.endsWith('/')
            ? {}
            : { localPath: hostPath }),
          sha256,
          mode,
          ...(link === undefined ? {} : { link }),
        };
      }
    }
  }

  /** The image of that series has it at the same place. */
  #copyPython(method: string, series: string): void {
    if (series.endsWith('t')) {
      throw inexpressible(`${method}(): no image has a free-threaded Python to copy`);
    }
    this.#note(
      `${method}() adds a relocatable Python; that of the image python:${series}-slim is the nearest`,
    );
    this.line(`COPY --from=python:${series}-slim /usr/local/ /usr/local/`);
  }

  async #run(layer: LayerDefinition, step: RunStep, directory: string): Promise<void> {
    if (step.timeoutMs !== undefined) {
      this.#note(`${layer.method}() has a time limit`);
    }
    if (step.limits !== undefined || step.retries !== undefined) {
      this.#note(`${layer.method}() has limits or retries`);
    }
    const mounts = this.#secretMounts(layer);
    if (step.mounted !== undefined) {
      const { at, inputs } = step.mounted;
      for (const input of inputs) {
        await this.#addFiles(input, directory);
      }
      mounts.unshift(`type=bind,source=${directory}${at},target=${at},rw`);
    }
    const flags = mounts.map((mount) => `--mount=${mount} `);
    const before = prelude(layer.env, step.lend);
    if (step.form === 'exec') {
      const variables = Object.entries(layer.env).map(([name, value]) => `${name}=${value}`);
      const argv = variables.length === 0 ? step.argv : ['env', ...variables, ...step.argv];
      this.line(`RUN ${flags.join('')}${JSON.stringify(argv)}`);
      return;
    }
    const text = `${before}${step.text}`;
    if (step.form === 'shell' && fitsOnLine(text)) {
      this.line(`RUN ${flags.join('')}${text}`);
      return;
    }
    const name = delimiter(text);
    const script = step.form === 'script' ? `set -e\n${step.text}` : step.text;
    // A first line of another kind would name an interpreter.
    const guarded = before === '' && script.startsWith('#!') ? `\n${script}` : script;
    this.line(`RUN ${flags.join('')}<<'${name}'\n${before === '' ? '' : `${before}\n`}${guarded}\n${name}`);
  }

  /** One id for every variable of a secret; another secret with a variable of that name gets another id. */
  #secretMounts({ method, secrets }: LayerDefinition): string[] {
    const ids = new Map<string, string>();
    for (const secret of secrets) {
      const { identity } = secret;
      if (!('keys' in identity)) {
        this.#note(
          `${method}() has a secret whose variables are known when it is built; only those that it must have are given`,
        );
      }
      const names =
        'keys' in identity ? identity.keys : 'requiredKeys' in identity ? identity.requiredKeys : [];
      for (const name of names) {
        let id = name;
        for (let number = 2; (this.#secretIds.get(id) ?? secret) !== secret; number += 1) {
          id = `${name}.${number}`;
        }
        this.#secretIds.set(id, secret);
        ids.set(name, id);
      }
    }
    return [...ids].map(([name, id]) => `type=secret,id=${id},env=${name}`);
  }

  async #copy(step: CopyLocalStep, directory: string): Promise<void> {
    if (step.fileGoesTo === 'contextMount') {
      await this.copyFinal(step.input, directory);
      return;
    }
    const { form } = await this.#addFiles(step.input, directory);
    if (form === 'file') {
      this.#copyLine(`${directory}${step.input.fileAt}`, step.fileDestination);
    } else {
      this.#copyLine(
        withSlash(`${directory}${step.input.directoryAt}`),
        withSlash(step.directoryDestination),
      );
    }
  }

  #copyLine(source: string, destination: string): void {
    if (/[*?[\\]/.test(source) || /[$\n]/.test(source + destination)) {
      throw inexpressible(`a path of COPY cannot be written: '${source}' to '${destination}'`);
    }
    this.line(`COPY ${copyWords(source, destination)}`);
  }

  async #addFiles(input: LocalInput, directory: string): Promise<ScannedFiles> {
    const scanned = await this.#scan(input);
    const hostPaths = new Map(scanned.files.map(({ path, hostPath }) => [path, hostPath]));
    for (const [path, { sha256, mode, link }] of scanned.entries) {
      const localPath = hostPaths.get(path);
      this.#context[`${directory}${path}`] = {
        ...(localPath === undefined ? {} : { localPath }),
        sha256,
        mode,
        ...(link === undefined ? {} : { link }),
      };
    }
    if (scanned.entries.size === 0) {
      this.#context[withSlash(`${directory}${input.directoryAt}`)] = { sha256: EMPTY_SHA256, mode: 0o755 };
    }
    return scanned;
  }
}

const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
const NO_CONTEXT: PlannedContext = {
  files: new Map(),
  given: new Map(),
  warnings: [],
  rootOnlyPatterns: [],
  complete: true,
};

function inexpressible(why: string): Error {
  return definitionError(
    'E_NO_DOCKERFILE',
    `a Dockerfile cannot say this: ${why}`,
    'tsbuild export writes the image itself',
  );
}

/** Sets variables for one command of a shell; `apt` is what the engine lends to steps that install packages. */
function prelude(env: Readonly<Record<string, string>>, lend: RunStep['lend']): string {
  const variables = { ...(lend.includes('apt') ? { DEBIAN_FRONTEND: 'noninteractive' } : {}), ...env };
  const words = Object.entries(variables).map(([name, value]) => `${name}=${quotedWord(value)}`);
  return words.length === 0 ? '' : `export ${words.join(' ')}; `;
}

/** Whether a command says the same behind RUN as it says to the shell. */
function fitsOnLine(text: string): boolean {
  return (
    !/[\n\r\0]/.test(text) && !text.includes('<<') && !/^\s*(--|\[|#)/.test(text) && !/[\\`]\s*$/.test(text)
  );
}

/** A word that no line is; readers of Dockerfiles leave out carriage returns at the end of one. */
function delimiter(text: string): string {
  const lines = new Set(text.split('\n').map((line) => line.replace(/\r+$/, '')));
  let name = 'EOF';
  for (let number = 2; lines.has(name); number += 1) {
    name = `EOF${number}`;
  }
  return name;
}

function withSlash(path: string): string {
  return path.endsWith('/') ? path : `${path}/`;
}

function isNamed(name: string | undefined, wanted: string): boolean {
  return name?.toLowerCase() === wanted.toLowerCase();
}

function contextText(spec: NamedContextSpec): string {
  switch (spec.kind) {
    case 'directory':
      return spec.path;
    case 'image':
      return `docker-image://${spec.reference}`;
    case 'layout':
      return `oci-layout://${spec.path}${spec.tag === undefined ? '' : `:${spec.tag}`}`;
    case 'remote':
      return spec.url;
    case 'stage':
      return `target:${spec.name}`;
  }
}

function sortedRecord<V>(record: Readonly<Record<string, V>>): Record<string, V> {
  return Object.fromEntries(Object.entries(record).sort(([one], [other]) => (one < other ? -1 : 1)));
}
