/** The Image API: immutable descriptions of images, made by a factory and extended by methods (A0 to A3). */
import { canonicalJson } from '../../base/canonical-json.ts';
import { absoluteLocalPath, type LocalPath } from '../../base/local-path.ts';
import { sha256Hex } from '../../base/sha256.ts';
import { type AddPythonPackagesOptions, addPythonPackages } from './add-python-packages.ts';
import {
  definitionError,
  knownOptions,
  optionsInPlace,
  requiredString,
  type StrArg,
  stringArray,
} from './arguments.ts';
import * as bases from './base-definitions.ts';
import type { BuiltImage, BuiltLayer } from './built-image.ts';
import * as commands from './command-layers.ts';
import * as config from './config-layers.ts';
import * as dockerfiles from './dockerfile-layers.ts';
import { type RunFunctionOptions, runFunction } from './function-layer.ts';
import type { BuildFunctionTarget } from './function-target.ts';
import {
  type BuildOptions,
  defaultEngine,
  type ExportOptions,
  type PlanOptions,
  type PublishedImage,
  type PushOptions,
  type RunOptions,
  type RunResult,
} from './image-engine.ts';
import { type ImageImports, imageImports } from './image-imports.ts';
import { ImageLogs } from './image-logs.ts';
import { parseImageName } from './image-name.ts';
import * as installs from './install-layers.ts';
import type { LayerDefinition, PendingMount } from './layer-definition.ts';
import * as locals from './local-layers.ts';
import * as micromamba from './micromamba-layers.ts';
import { type PyprojectOptions, pipInstallFromPyproject } from './pip-from-pyproject.ts';
import { type PrivateReposOptions, pipInstallPrivateRepos } from './pip-private-repos.ts';
import type { ImagePlan } from './plan.ts';
import { type PoetryOptions, poetryInstallFromFile } from './poetry-install.ts';
import { type AddLocalPythonSourceOptions, addLocalPythonSource } from './python-source-layer.ts';
import * as registryBases from './registry-bases.ts';
import type { StepOptions } from './step-options.ts';
import * as stored from './stored-base.ts';
import * as terminal from './terminal-options.ts';
import type { DockerfileExport } from './to-dockerfile.ts';
import { type UvSyncOptions, uvSync } from './uv-sync.ts';

/** The chain as a list that grows at its end and is shared by branches. */
interface Link {
  readonly parent: Link | undefined;
  readonly layer: LayerDefinition;
  readonly index: number;
  /** Own flag or an ancestor's. */
  readonly forced: boolean;
}

/** A path, or one level of array of paths. */
type PathArg = LocalPath | readonly LocalPath[];

interface ImageState {
  readonly tip: Link;
  readonly mounts: readonly PendingMount[];
}

const CONSTRUCT: unique symbol = Symbol('tsbuild.image');

/**
 * A description of an image. Nothing is read, run or fetched while it is extended; every method returns a new image
 * and leaves this one as it is. A call that adds nothing returns this image itself.
 */
export class Image {
  readonly #state: ImageState;

  /** Use a factory such as {@link Image.debianSlim}. */
  constructor(key: typeof CONSTRUCT, state: ImageState) {
    if (key !== CONSTRUCT) {
      throw definitionError('E_ARG_TYPE', 'an Image is made by a factory such as Image.debianSlim()');
    }
    this.#state = Object.freeze(state);
    if (new.target === Image) {
      Object.freeze(this);
    }
  }

  /**
   * A minimal Debian with Python and pip.
   *
   * @example
   * ```ts
   * const base = Image.debianSlim({ pythonVersion: '3.13' });
   * ```
   */
  static debianSlim(options?: bases.DebianSlimOptions): Image {
    return begin(bases.debianSlim(options));
  }

  /**
   * Debian assembled from its signed archive, without any registry.
   *
   * @example
   * ```ts
   * const base = Image.fromDebian({ packages: ['ca-certificates'] });
   * ```
   */
  static fromDebian(options?: bases.FromDebianOptions): Image {
    return begin(bases.fromDebian(options));
  }

  /**
   * Ubuntu with a Python that is added to it.
   *
   * @example
   * ```ts
   * Image.ubuntu({ addPython: '3.13' }).aptInstall('git').pipInstall('requests');
   * ```
   * @throws {DefinitionError} `E_ARG_TYPE`, `E_PYTHON_MICRO`, `E_PYTHON_VERSION_FORMAT`, `E_PYTHON_VERSION_TYPE`; later
   *   `E_PYTHON_VERSION_UNSUPPORTED`.
   */
  static ubuntu(options?: registryBases.UbuntuOptions): Image {
    return begin(registryBases.ubuntu(options));
  }

  /**
   * A base for packages of conda, with an active environment that has Python and pip.
   *
   * @example
   * ```ts
   * Image.micromamba({ pythonVersion: '3.12' }).micromambaInstall('numpy', { channels: ['conda-forge'] });
   * ```
   * @throws {DefinitionError} As {@link debianSlim}.
   */
  static micromamba(options?: micromamba.MicromambaOptions): Image {
    return begin(micromamba.micromamba(options));
  }

  /**
   * An image of a registry.
   *
   * @example
   * ```ts
   * Image.fromRegistry('nvidia/cuda:12.8.1-devel-ubuntu24.04', { addPython: '3.12' });
   * ```
   * @throws {DefinitionError} `E_IMAGE_NAME`, `E_SECRET_TYPE`, and those of `addPython` as {@link ubuntu}.
   */
  static fromRegistry(tag: string, options?: registryBases.FromRegistryOptions): Image {
    return begin(registryBases.fromRegistry(tag, options));
  }

  /**
   * An image of Amazon's Elastic Container Registry. Needs the package `@aws-sdk/client-ecr`.
   *
   * @example
   * ```ts
   * const keys = Secret.fromEnv(['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']);
   * Image.fromAwsEcr('000000000000.dkr.ecr.us-east-1.amazonaws.com/tools:v1', { secret: keys });
   * ```
   * @throws {DefinitionError} As {@link fromRegistry}. @throws {RemoteError} Later, `E_AUTH`.
   */
  static fromAwsEcr(tag: string, options: registryBases.FromAwsEcrOptions): Image {
    return begin(registryBases.fromCloudRegistry('fromAwsEcr', tag, options));
  }

  /**
   * An image of Google Cloud's Artifact Registry.
   *
   * @example
   * ```ts
   * const key = Secret.fromDict({ SERVICE_ACCOUNT_JSON: readFileSync('key.json', 'utf8') });
   * Image.fromGcpArtifactRegistry('us-east1-docker.pkg.dev/project/repository/tools:v1', { secret: key });
   * ```
   * @throws {DefinitionError} As {@link fromRegistry}. @throws {RemoteError} Later, `E_AUTH`.
   */
  static fromGcpArtifactRegistry(tag: string, options: registryBases.FromGcpArtifactRegistryOptions): Image {
    return begin(registryBases.fromCloudRegistry('fromGcpArtifactRegistry', tag, options));
  }

  /**
   * An image of an OCI image layout on this machine.
   *
   * @example
   * ```ts
   * const base = Image.fromOciLayout('./layout', { tag: 'latest' });
   * ```
   */
  static fromOciLayout(path: LocalPath, options?: bases.FromOciOptions): Image {
    return begin(bases.fromOci('fromOciLayout', path, options));
  }

  /**
   * An image of a tar archive of an OCI image layout on this machine.
   *
   * @example
   * ```ts
   * const base = Image.fromOciArchive('./base.tar');
   * ```
   */
  static fromOciArchive(path: LocalPath, options?: bases.FromOciOptions): Image {
    return begin(bases.fromOci('fromOciArchive', path, options));
  }

  /**
   * The image that a Dockerfile describes. Each instruction that changes files is one layer and is cached by itself.
   *
   * @param path - Of the Dockerfile, or `{ text }`. Undefined: `Dockerfile` in the context.
   * @example
   * ```ts
   * const image = Image.fromDockerfile('docker/Dockerfile', { contextDir: '.', buildArgs: { VERSION: '1.2' } });
   * ```
   * @throws {DefinitionError} Later, when it is planned or built: `E_LOCAL_FILE_MISSING`, `E_DOCKERFILE_SYNTAX` and its like.
   */
  static fromDockerfile(
    path: LocalPath | dockerfiles.DockerfileText | undefined,
    options?: dockerfiles.FromDockerfileOptions,
  ): Image {
    const { base, python } = dockerfiles.fromDockerfile(path, options);
    return begin(base).#extend(python);
  }

  /**
   * An image of this machine's store. It is looked for when it is needed.
   *
   * @param id - `im-…`, as {@link Image.id} has it, or the digest of what was pulled.
   * @example
   * ```ts
   * const image = Image.fromId('im-1QvBvzuiGs2TX5w0XPQKvz').env({ MODE: 'test' });
   * ```
   * @throws {DefinitionError} `E_ARG_TYPE`; `E_IMAGE_NOT_FOUND` later, when it is built.
   */
  static fromId(id: string): Image {
    return begin(stored.fromId(id));
  }

  /**
   * An image that was published on this machine. Nothing is built for it.
   *
   * @param name - `name[:tag]`, with `namespace/` before it if it is not of this environment.
   * @example
   * ```ts
   * await (await image.build()).publish('web:v1');
   * const web = Image.fromName('web:v1');
   * ```
   * @throws {DefinitionError} `E_IMAGE_NAME`, `E_IMAGE_TAG`, `E_IMAGE_NAME_PREFIX`, `E_NAME`; `E_IMAGE_NOT_FOUND` later, when it is built.
   */
  static fromName(name: string, options?: stored.NameOptions): Image {
    return begin(stored.fromName(name, options));
  }

  /**
   * Forgets an image of the store with its names. What it is built on stays, and its layers until `tsbuild prune`.
   *
   * @example
   * ```ts
   * const built = await image.build();
   * await Image.delete(built.id);
   * ```
   * @throws {DefinitionError} `E_IMAGE_NOT_FOUND`; `E_IMAGE_IN_USE` for one of an index.
   */
  static async delete(id: string): Promise<void> {
    const known = requiredString('Image.delete', 'id', id);
    await (await defaultEngine()).deleteImage(known);
  }

  /**
   * Nothing at all.
   *
   * @example
   * ```ts
   * const data = Image.fromScratch().copyLocalDir('./public', '/public');
   * ```
   */
  static fromScratch(options?: bases.FactoryOptions): Image {
    return begin(bases.fromScratch(options));
  }

  /**
   * Builds several images in parallel, each shared layer once.
   *
   * @example
   * ```ts
   * const base = Image.debianSlim().aptInstall('git');
   * const [web, worker] = await Image.buildAll([base.pipInstall('flask'), base.pipInstall('celery')]);
   * ```
   */
  static async buildAll(images: readonly Image[], options?: BuildOptions): Promise<readonly BuiltImage[]> {
    if (!Array.isArray(images) || !images.every((each) => each instanceof Image)) {
      throw definitionError('E_ARG_TYPE', 'Image.buildAll() takes an array of images');
    }
    const normal = terminal.buildOptions(options);
    return (await defaultEngine()).build(images, normal);
  }

  /**
   * Installs Python packages with pip. Options of pip may stand between the requirements.
   *
   * @example
   * ```ts
   * image.pipInstall('numpy==2.1.0', ['scipy', 'pandas<3'], { extraIndexUrl: 'https://wheels.example/simple' });
   * ```
   */
  pipInstall(...args: [...packages: StrArg[], options: installs.PipOptions] | StrArg[]): Image {
    return this.#extend(installs.pipInstall(args));
  }

  /**
   * Installs from a requirements file of this machine with pip.
   *
   * @example
   * ```ts
   * image.pipInstallFromRequirements('requirements.txt');
   * ```
   */
  pipInstallFromRequirements(requirementsTxt: LocalPath, options?: installs.PipOptions): Image {
    return this.#extend(installs.pipInstallFromRequirements(requirementsTxt, options));
  }

  /**
   * Installs Python packages with uv, into the first `python` of the image's PATH.
   *
   * @example
   * ```ts
   * image.uvPipInstall('numpy==2.1.0', 'httpx[http2]');
   * ```
   */
  uvPipInstall(...args: [...packages: StrArg[], options: installs.UvPipOptions] | StrArg[]): Image {
    return this.#extend(installs.uvPipInstall(args));
  }

  /**
   * Installs from requirements files of this machine with uv.
   *
   * @example
   * ```ts
   * image.uvPipInstallFromRequirements(['requirements.txt', 'requirements-dev.txt']);
   * ```
   */
  uvPipInstallFromRequirements(
    requirementsTxt: LocalPath | readonly LocalPath[],
    options?: Omit<installs.UvPipOptions, 'requirements'>,
  ): Image {
    return this.#extend(installs.uvPipInstallFromRequirements(requirementsTxt, options));
  }

  /**
   * Installs what a pyproject.toml of this machine lists in `[project].dependencies`, and in the optional groups that are
   * named. The file itself is not copied, and only the resulting list is in the key.
   *
   * @example
   * ```ts
   * image.pipInstallFromPyproject('pyproject.toml', ['dev']);
   * ```
   * @throws {DefinitionError} Later: `E_PYPROJECT_MISSING`, `E_PYPROJECT_SYNTAX`, `E_PYPROJECT_NO_DEPENDENCIES`,
   * `E_PYPROJECT_UNKNOWN_GROUP`.
   */
  pipInstallFromPyproject(
    pyprojectToml: LocalPath,
    optionalDependencies?: readonly string[] | PyprojectOptions,
    options?: PyprojectOptions,
  ): Image {
    return this.#extend(pipInstallFromPyproject(pyprojectToml, optionalDependencies, options));
  }

  /**
   * Installs packages from private repositories of GitHub and GitLab. The secrets give `GITHUB_TOKEN` and `GITLAB_TOKEN`,
   * which only the step's shell sees.
   *
   * @param args - `github.com/org/repo@ref`, `gitlab.com/org/repo#subdirectory=inner`, and the options.
   * @example
   * ```ts
   * image.pipInstallPrivateRepos('github.com/acme/tools@v1', { gitUser: 'me', secrets: [Secret.fromEnv(['GITHUB_TOKEN'])] });
   * ```
   * @throws {DefinitionError} `E_PRIVATE_REPO_NO_SECRET`, `E_PRIVATE_REPO_HOST`, `E_ARG_TYPE` without `gitUser`.
   */
  pipInstallPrivateRepos(...args: [...repositories: StrArg[], options: PrivateReposOptions]): Image {
    return this.#extend(pipInstallPrivateRepos(args));
  }

  /**
   * Installs what a project of uv depends on, as its `uv.lock` says if it has one, into an environment that comes first on
   * PATH from here on. The project itself is not installed.
   *
   * @param projectDir - With `pyproject.toml`, and `uv.lock` or not. @defaultValue the working directory
   * @example
   * ```ts
   * image.uvSync('.', { groups: ['serving'] }).copyLocalDir('src', '/app');
   * ```
   * @throws {DefinitionError} Later: `E_PYPROJECT_MISSING`, `E_PYPROJECT_SYNTAX`, `E_UV_WORKSPACE`.
   */
  uvSync(projectDir?: LocalPath | UvSyncOptions, options?: UvSyncOptions): Image {
    return this.#extend(uvSync(projectDir, options));
  }

  /**
   * Installs what a project of Poetry depends on, as its lock file says, into the image's own Python. The project itself is
   * not installed.
   *
   * @param poetryLockfile - @defaultValue `poetry.lock` beside the pyproject.toml
   * @example
   * ```ts
   * image.poetryInstallFromFile('pyproject.toml', { without: ['dev'] });
   * ```
   * @throws {DefinitionError} Later: `E_PYPROJECT_MISSING`, `E_POETRY_LOCK_MISSING`.
   */
  poetryInstallFromFile(
    pyprojectToml: LocalPath,
    poetryLockfile?: LocalPath | PoetryOptions,
    options?: PoetryOptions,
  ): Image {
    return this.#extend(poetryInstallFromFile(pyprojectToml, poetryLockfile, options));
  }

  /**
   * Installs Python packages of this machine: wheels, source archives and directories with build metadata by pip, plain
   * packages as they are. What they were installed from does not stay in the image.
   *
   * @example
   * ```ts
   * image.addPythonPackages('dist/acme-1.0-py3-none-any.whl', './mypkg');
   * ```
   * @throws {DefinitionError} Later: `E_LOCAL_FILE_MISSING`, `E_NOT_A_PYTHON_PACKAGE`.
   */
  addPythonPackages(...args: [...paths: PathArg[], options: AddPythonPackagesOptions] | PathArg[]): Image {
    return this.#extend(addPythonPackages(args));
  }

  /**
   * Installs Debian packages. Options of apt-get may stand between the names.
   *
   * @example
   * ```ts
   * image.aptInstall('git', 'build-essential');
   * ```
   */
  aptInstall(...args: [...packages: StrArg[], options: installs.AptInstallOptions] | StrArg[]): Image {
    return this.#extend(installs.aptInstall(args));
  }

  /**
   * Removes Debian packages, and what nothing needs any more.
   *
   * @example
   * ```ts
   * image.aptRemove('build-essential', { purge: true });
   * ```
   */
  aptRemove(...args: [...packages: StrArg[], options: installs.AptRemoveOptions] | StrArg[]): Image {
    return this.#extend(installs.aptRemove(args));
  }

  /**
   * Installs packages of conda into the base environment of an image that has micromamba.
   *
   * @example
   * ```ts
   * Image.micromamba().micromambaInstall('pymc==5.10.4', { channels: ['conda-forge'] });
   * ```
   * @throws {DefinitionError} `E_NOT_STRINGS`, `E_UNKNOWN_OPTION`, `E_ARG_TYPE`; later `E_LOCAL_FILE_MISSING`,
   *   `E_UNDEFINED_VARIABLE`. @throws {StepError} Later, when the image has no micromamba.
   */
  micromambaInstall(
    ...args: [...packages: StrArg[], options: micromamba.MicromambaInstallOptions] | StrArg[]
  ): Image {
    return this.#extend(micromamba.micromambaInstall(args));
  }

  /**
   * Runs commands, each in a shell of its own; all of one call make one layer.
   *
   * @example
   * ```ts
   * image.runCommands('git clone https://git.example/tool /src', 'make -C /src install');
   * ```
   */
  runCommands(...args: [...commands: StrArg[], options: commands.RunCommandsOptions] | StrArg[]): Image {
    return this.#extend(commands.runCommands(args));
  }

  /**
   * Runs a function once in a container of this image; what it changes in the file system is the layer. Its source, what that
   * refers to, and the arguments are in the key.
   *
   * @param target - An inline function, {@link jsFunction}, or {@link pythonFunction}.
   * @example
   * ```ts
   * image.runFunction(pythonFunction('models.py', 'download'), { args: ['small'], secrets: [Secret.fromEnv(['HF_TOKEN'])] });
   * ```
   * @throws {DefinitionError} `E_FN_NOT_FUNCTION`, `E_FN_ANONYMOUS`, `E_FN_CAPTURES`, `E_FN_KWARGS`, `E_FN_ARGS_TOO_LARGE`;
   * later `E_FN_NOT_FOUND`.
   */
  runFunction(target: BuildFunctionTarget, options?: RunFunctionOptions): Image {
    return this.#extend(runFunction(target, options));
  }

  /**
   * Instructions of a Dockerfile on top of this image, which `FROM base` means in them. The last stage is the result.
   *
   * @example
   * ```ts
   * image.dockerfileCommands('COPY --chmod=755 run.sh /', 'HEALTHCHECK CMD ["/run.sh", "check"]');
   * ```
   */
  dockerfileCommands(
    ...args: [...lines: StrArg[], options: dockerfiles.DockerfileCommandsOptions] | StrArg[]
  ): Image {
    return this.#extend(dockerfiles.dockerfileCommands(args));
  }

  /**
   * Sets environment variables for good. Values are literal.
   *
   * @example
   * ```ts
   * image.env({ HF_HOME: '/models' });
   * ```
   */
  env(vars: Readonly<Record<string, string>>, options?: StepOptions): Image {
    return this.#extend(config.env(vars, options));
  }

  /**
   * Sets and makes the working directory of later steps and of the container.
   *
   * @example
   * ```ts
   * image.workdir('/app');
   * ```
   */
  workdir(path: string, options?: StepOptions): Image {
    return this.#extend(config.workdir(path, options));
  }

  /**
   * Sets the entrypoint. An inherited CMD is cleared, unless this chain set one before.
   *
   * @example
   * ```ts
   * image.entrypoint(['python', '/app/main.py']);
   * ```
   */
  entrypoint(args: readonly string[], options?: StepOptions): Image {
    return this.#extend(config.argvLayer('entrypoint', args, options));
  }

  /**
   * Sets the default command, or the default arguments of the entrypoint.
   *
   * @example
   * ```ts
   * image.cmd(['--port', '8080']);
   * ```
   */
  cmd(args: readonly string[], options?: StepOptions): Image {
    return this.#extend(config.argvLayer('cmd', args, options));
  }

  /**
   * Sets the shell that runs the text of later commands.
   *
   * @example
   * ```ts
   * image.shell(['/bin/bash', '-o', 'pipefail', '-c']).runCommands('curl https://example.com | wc -c');
   * ```
   */
  shell(args: readonly string[], options?: StepOptions): Image {
    return this.#extend(config.argvLayer('shell', args, options));
  }

  /**
   * Puts a file of this machine into containers when they start, or into a layer with `copy: true`.
   *
   * @example
   * ```ts
   * image.addLocalFile('model.py', '/app/model.py');
   * ```
   */
  addLocalFile(
    localPath: LocalPath,
    remotePath: string | locals.AddLocalFileOptions,
    options?: locals.AddLocalFileOptions,
  ): Image {
    return this.#add(locals.addLocalFile(localPath, remotePath, options));
  }

  /**
   * Puts the contents of a directory into containers when they start, or into a layer with `copy: true`.
   *
   * @example
   * ```ts
   * image.addLocalDir('./config', '/app/config', { ignore: ['*.bak'] });
   * ```
   */
  addLocalDir(
    localPath: LocalPath,
    remotePath: string | locals.AddLocalDirOptions,
    options?: locals.AddLocalDirOptions,
  ): Image {
    return this.#add(locals.addLocalDir(localPath, remotePath, options));
  }

  /**
   * Puts Python modules of this machine below `/root` and on PYTHONPATH when a container starts, or into a layer with
   * `copy: true`. They are named as in an import statement and found as Python finds them. Meant for projects in pure Python.
   *
   * @example
   * ```ts
   * image.addLocalPythonSource('app', 'tools.report');
   * ```
   * @throws {DefinitionError} `E_NOT_STRINGS`, `E_ARG_TYPE`; later `E_MODULE_NOT_FOUND`, `E_MODULE_BINARY`.
   */
  addLocalPythonSource(
    ...args: [...modules: StrArg[], options: AddLocalPythonSourceOptions] | StrArg[]
  ): Image {
    const added = addLocalPythonSource(args);
    return added === undefined ? this : this.#add(added);
  }

  /**
   * Copies a file of this machine into a layer; a relative `remotePath` is below WORKDIR.
   *
   * @example
   * ```ts
   * image.workdir('/app').copyLocalFile('requirements.txt');
   * ```
   */
  copyLocalFile(
    localPath: LocalPath,
    remotePath?: string | locals.CopyLocalFileOptions,
    options?: locals.CopyLocalFileOptions,
  ): Image {
    return this.#extend(locals.copyLocalFile(localPath, remotePath, options));
  }

  /**
   * Copies the contents of a directory of this machine into a layer; a relative `remotePath` is below WORKDIR.
   *
   * @example
   * ```ts
   * image.copyLocalDir('./src', '/app/src', { ignore: ['*.pyc', '__pycache__'] });
   * ```
   */
  copyLocalDir(
    localPath: LocalPath,
    remotePath?: string | locals.CopyLocalDirOptions,
    options?: locals.CopyLocalDirOptions,
  ): Image {
    return this.#extend(locals.copyLocalDir(localPath, remotePath, options));
  }

  /**
   * Hands this image to a function that extends it.
   *
   * @example
   * ```ts
   * const withTools = (base: Image, ...tools: string[]) => base.aptInstall('ca-certificates', tools);
   * image.pipe(withTools, 'git', 'curl');
   * ```
   */
  pipe<A extends unknown[]>(fn: (image: Image, ...args: A) => Image, ...args: A): Image {
    if (typeof fn !== 'function') {
      throw definitionError('E_ARG_TYPE', 'pipe() takes a function');
    }
    const result: unknown = fn(this, ...args);
    if (!(result instanceof Image)) {
      throw definitionError('E_ARG_TYPE', 'pipe(): the function must return an Image');
    }
    return result;
  }

  /**
   * Names packages that exist only inside of this image, where the module is loaded everywhere. The loader starts at once; that
   * it finds nothing matters only in containers of this image, where functions are not called then.
   *
   * @example
   * ```ts
   * // In place of node:zlib, a package that is installed in the image.
   * const libs = image.imports(async () => ({ zlib: await import('node:zlib') }));
   * export const packed = (text: string) => libs.get().zlib.gzipSync(text).length;
   * ```
   * @throws {DefinitionError} `E_ARG_TYPE`
   */
  imports<T>(loader: () => T | Promise<T>): ImageImports<T> {
    return imageImports(this.recipeHash, loader);
  }

  /**
   * Describes every layer, without network and without executing anything; local files are read.
   *
   * @example
   * ```ts
   * const { layers } = await image.plan();
   * console.log(layers.flatMap(({ commands }) => commands).join('\n'));
   * ```
   */
  async plan(options?: PlanOptions): Promise<ImagePlan> {
    const normal = terminal.planOptions('plan', options);
    return (await defaultEngine()).plan(this, normal);
  }

  /**
   * The chain as one Dockerfile and the files that its context must hold, without network and without executing anything.
   * What a Dockerfile cannot say is in `notes` and left out, or an error where the image would be another. Secrets are ids.
   *
   * @example
   * ```ts
   * const { text, context, secrets } = await image.toDockerfile();
   * ```
   * @throws {DefinitionError} `E_NO_DOCKERFILE`, and what `plan()` throws.
   */
  async toDockerfile(options?: Omit<PlanOptions, 'lint'>): Promise<DockerfileExport> {
    const normal = terminal.planOptions('toDockerfile', options);
    return (await defaultEngine()).toDockerfile(this, normal);
  }

  /**
   * Builds what is missing.
   *
   * @example
   * ```ts
   * const { digest, layers } = await image.build({ signal: AbortSignal.timeout(60_000) });
   * console.log(digest, layers.filter(({ cached }) => !cached).length);
   * ```
   */
  async build(options?: BuildOptions): Promise<BuiltImage> {
    const normal = terminal.buildOptions(options);
    const [built] = await (await defaultEngine()).build([this], normal);
    return built as BuiltImage;
  }

  /**
   * Runs a container and throws its changes away. `command` takes the place of CMD.
   *
   * @example
   * ```ts
   * const { exitCode, stdout } = await image.run(['python', '-c', 'print(1 + 1)'], { timeout: 10 });
   * ```
   */
  run(
    command: readonly string[] | undefined,
    options: RunOptions & { readonly encoding: 'buffer' },
  ): Promise<RunResult<Buffer>>;
  run(command?: readonly string[] | RunOptions, options?: RunOptions): Promise<RunResult>;
  async run(
    command?: readonly string[] | RunOptions,
    options?: RunOptions,
  ): Promise<RunResult<string | Buffer>> {
    const { placed, given } = optionsInPlace(command, options);
    const normal = terminal.runOptions(given);
    const argv = placed === undefined ? undefined : stringArray('run', 'command', placed);
    return (await defaultEngine()).run(this, argv, normal);
  }

  /**
   * A file of the built image, without starting a container.
   *
   * @example
   * ```ts
   * const release = String(await image.readFile('/etc/os-release'));
   * ```
   */
  async readFile(path: string): Promise<Buffer> {
    return (await defaultEngine()).readFile(this, requiredString('readFile', 'path', path));
  }

  /**
   * Whether the built image has something at a path, without starting a container.
   *
   * @example
   * ```ts
   * const hasGit = await image.exists('/usr/bin/git');
   * ```
   */
  async exists(path: string): Promise<boolean> {
    return (await defaultEngine()).exists(this, requiredString('exists', 'path', path));
  }

  /**
   * Files, links and directories (with a trailing `/`) of the built image, sorted.
   *
   * @example
   * ```ts
   * const models = await image.listFiles('/models');
   * ```
   */
  async listFiles(prefix = '/'): Promise<readonly string[]> {
    return (await defaultEngine()).listFiles(this, requiredString('listFiles', 'prefix', prefix));
  }

  /**
   * Writes the image to this machine; pending mounts become a last layer.
   *
   * @example
   * ```ts
   * await image.exportTo('web.tar', { format: 'docker-archive', tag: 'web:1' });
   * ```
   */
  async exportTo(path: LocalPath, options: ExportOptions): Promise<PublishedImage> {
    const normal = terminal.exportOptions(options);
    return (await defaultEngine()).exportTo(this, absoluteLocalPath('exportTo', 'path', path), normal);
  }

  /**
   * Pushes the image to a registry; pending mounts become a last layer.
   *
   * @example
   * ```ts
   * const { digest } = await image.push('registry.example/team/web:1');
   * ```
   */
  async push(reference: string, options?: PushOptions): Promise<PublishedImage> {
    const normal = terminal.pushOptions(options);
    return (await defaultEngine()).push(this, requiredString('push', 'reference', reference), normal);
  }

  /**
   * Points a name of this machine at this image, which must have been built. The name may stand for another one already; what it
   * stood for before is remembered. Pending mounts are not part of what is published.
   *
   * @param name - `name[:tag]`; the tag is `latest` if there is none.
   * @example
   * ```ts
   * const built = await image.build();
   * await built.publish('web:v1');
   * ```
   * @throws {DefinitionError} `E_IMAGE_NAME`, `E_IMAGE_TAG`, `E_IMAGE_NAME_PREFIX`, `E_NOT_BUILT`, `E_IMAGE_NOT_FOUND`
   */
  async publish(name: string, options?: stored.NameOptions): Promise<void> {
    const { environment } = knownOptions('publish', options, ['environment']);
    const parsed = parseImageName('publish', name, environment);
    await (await defaultEngine()).publish(this, parsed);
  }

  /** What its steps said in the last attempt to build it. */
  get logs(): ImageLogs {
    return new ImageLogs(this);
  }

  /** Id of the last attempt to build this definition; undefined before. */
  get id(): string | undefined {
    const own = this.storedBase;
    return attempts.get(this.#state.tip)?.id ?? (own?.kind === 'id' ? own.id : undefined);
  }

  /** Layers of the last attempt to build this definition; empty before. */
  get layers(): readonly BuiltLayer[] {
    return attempts.get(this.#state.tip)?.layers ?? [];
  }

  /** Of the calls of this chain and their literal arguments; of no file contents and no resolved versions (B4.1). */
  get recipeHash(): string {
    const { layers, mounts } = imageParts(this);
    return recipeHash(layers, mounts);
  }

  /** Local files that are put above the image when a container starts, in the order of the calls. */
  get mounts(): readonly PendingMount[] {
    return this.#state.mounts;
  }

  /** Whether this chain asks for a layer to be built anew. */
  get forceBuild(): boolean {
    return this.#state.tip.forced;
  }

  #extend(layer: LayerDefinition | undefined): Image {
    if (layer === undefined) {
      return this;
    }
    if (this.#state.mounts.length > 0) {
      throw definitionError(
        'E_STEP_AFTER_MOUNT',
        `${layer.method}() adds a layer, but local files were added before that exist only when a container starts`,
        'put addLocalFile(), addLocalDir() and addLocalPythonSource() last, or pass them copy: true',
      );
    }
    return new Image(CONSTRUCT, { tip: link(this.#state.tip, layer), mounts: [] });
  }

  #add(added: locals.Added): Image {
    if (added.kind === 'layer') {
      return this.#extend(added.layer);
    }
    const { tip, mounts } = this.#state;
    return new Image(CONSTRUCT, { tip, mounts: Object.freeze([...mounts, added.mount]) });
  }

  /** @internal The image of the store that this is, with nothing added. */
  get storedBase(): stored.StoredImage | undefined {
    const { base } = this.#state.tip.layer;
    return base?.kind === 'stored' ? base.image : undefined;
  }

  /** @internal For what is next to the class; see {@link imageParts} and {@link extendBuilt}. */
  static stateOf(image: Image): ImageState {
    return image.#state;
  }
}

export interface ImageParts {
  /** The base first. */
  readonly layers: readonly LayerDefinition[];
  readonly mounts: readonly PendingMount[];
}

/** What plans and graphs are made from. */
export function imageParts(image: Image): ImageParts {
  const { tip, mounts } = Image.stateOf(image);
  const layers = new Array<LayerDefinition>(tip.index + 1);
  for (let at: Link | undefined = tip; at !== undefined; at = at.parent) {
    layers[at.index] = at.layer;
  }
  return { layers, mounts };
}

/** B4.1. */
export function recipeHash(layers: readonly LayerDefinition[], mounts: readonly PendingMount[]): string {
  const calls = layers.map(({ method, recipe }) => [method, recipe]);
  return sha256Hex(canonicalJson([...calls, ...mounts.map((mount) => mount.recipe)]));
}

/** What the getters of an image answer after a build. */
export interface BuildAttempt {
  readonly id: string;
  readonly layers: readonly BuiltLayer[];
}

const attempts = new WeakMap<Link, BuildAttempt>();

/** Called by the engine after every attempt, failed ones too. Images that differ only in mounts share the record. */
export function recordAttempt(image: Image, attempt: BuildAttempt): void {
  attempts.set(Image.stateOf(image).tip, attempt);
}

/** Makes an instance of a subclass with the state of `image`. */
export function sameImageAs<T>(image: Image, make: (...args: ConstructorParameters<typeof Image>) => T): T {
  return make(CONSTRUCT, Image.stateOf(image));
}

function begin(layer: LayerDefinition): Image {
  return new Image(CONSTRUCT, { tip: link(undefined, layer), mounts: [] });
}

function link(parent: Link | undefined, layer: LayerDefinition): Link {
  return Object.freeze({
    parent,
    layer: Object.freeze(layer),
    index: parent === undefined ? 0 : parent.index + 1,
    forced: layer.forceBuild || parent?.forced === true,
  });
}
