/** The public names of the library. A test lists them, so that a wider API is seen in review. */

import { createRequire } from 'node:module';
import { defaultVolumePath } from './engine/default-volume-path.ts';
import { Engine } from './engine.ts';
import { provideDefaultEngine } from './frontend/fluent/image-engine.ts';
import { provideAcorn } from './frontend/fluent/javascript-captures.ts';
import { provideVolumeStore } from './frontend/fluent/volume-store.ts';
import { readPatternFile } from './local/pattern-file.ts';
import { packagePath } from './native/package-path.ts';
import { providePatternFileReader } from './patterns/file-pattern-matcher.ts';
import { provideSecretStore } from './secret/secret-store.ts';

export type { LocalPath } from './base/local-path.ts';
export type {
  CreateObjectOptions,
  DeleteObjectOptions,
  ListObjectsOptions,
  StoredObject,
} from './base/stored-objects.ts';
export type { DescribedDockerfile, DescribeOptions } from './engine/describe-dockerfile.ts';
export {
  type Annotation,
  type CacheSource,
  type CacheTarget,
  Engine,
  type EngineBuildOptions,
  type EngineOptions,
  type EngineRunOptions,
  type FailedStep,
  type FailedStepRunOptions,
  type FailedStepRunResult,
  type InputLike,
  type KeptStep,
  type KeptStepRunOptions,
  type OnError,
  type OutputSpec,
  type TerminalLike,
  type WrittenOutput,
} from './engine.ts';
export {
  DefinitionError,
  type ErrorCode,
  HostError,
  IntegrityError,
  InternalError,
  RemoteError,
  StepError,
  TsbuildError,
  UsageError,
} from './errors.ts';
export type { AddPythonPackagesOptions } from './frontend/fluent/add-python-packages.ts';
export {
  App,
  AppFunction,
  type AppFunctionOptions,
  type AppOptions,
  type InvokeOptions,
} from './frontend/fluent/app.ts';
export type { BuilderVersion } from './frontend/fluent/builder-version.ts';
export { BuiltImage } from './frontend/fluent/built-image.ts';
export type {
  DefinitionParams,
  ParamDeclaration,
  ParamValue,
  ParamValues,
} from './frontend/fluent/definition-params.ts';
export type { Diagnostic } from './frontend/fluent/diagnostic.ts';
export type {
  DockerfileCommandsOptions,
  DockerfileText,
  FromDockerfileOptions,
} from './frontend/fluent/dockerfile-layers.ts';
export type { RunFunctionOptions } from './frontend/fluent/function-layer.ts';
export {
  type BuildFunctionTarget,
  jsFunction,
  pythonFunction,
} from './frontend/fluent/function-target.ts';
export { Image } from './frontend/fluent/image.ts';
export type { FunctionCallOptions } from './frontend/fluent/image-engine.ts';
export type { ImageImports } from './frontend/fluent/image-imports.ts';
export type { BuildLogEntry, FetchLogsOptions, ImageLogs } from './frontend/fluent/image-logs.ts';
export type { PipOptions, UvPipOptions } from './frontend/fluent/install-layers.ts';
export { Mount } from './frontend/fluent/mount.ts';
export type { PyprojectOptions } from './frontend/fluent/pip-from-pyproject.ts';
export type { PrivateReposOptions } from './frontend/fluent/pip-private-repos.ts';
export type { ImagePlan, LayerPlan, MountPlan } from './frontend/fluent/plan.ts';
export type { PoetryOptions } from './frontend/fluent/poetry-install.ts';
export type { StepOptions } from './frontend/fluent/step-options.ts';
export type { DockerfileContextFile, DockerfileExport } from './frontend/fluent/to-dockerfile.ts';
export type { UvSyncOptions } from './frontend/fluent/uv-sync.ts';
export type {
  VolumeFileOptions,
  VolumeFromNameOptions,
  VolumeMap,
  VolumeMountOptions,
} from './frontend/fluent/volume.ts';
export { Volume } from './frontend/fluent/volume.ts';
export { FilePatternMatcher, type IgnoreSyntax } from './patterns/file-pattern-matcher.ts';
export type { IgnoreSpec } from './patterns/ignore-spec.ts';
export type { SecretFromDotenvOptions, SecretFromNameOptions } from './secret/secret.ts';
export { Secret } from './secret/secret.ts';
export type { BuildEvent } from './solver/event.ts';
export { EventStream, type EventStreamOptions } from './solver/event-stream.ts';

/**
 * The engine behind `image.build()`: opened by the first operation on the process's environment, closed when the process has
 * nothing else to do. Programs that want to choose open their own.
 */
let opened: Promise<Engine> | undefined;

const defaultEngine = () => {
  opened ??= Engine.open().then((engine) => {
    process.once('beforeExit', () => {
      opened = undefined;
      void engine.close();
    });
    return engine;
  });
  return opened;
};

providePatternFileReader(readPatternFile);
provideDefaultEngine(defaultEngine);
provideAcorn(() => createRequire(packagePath('package.json'))('acorn'));
provideSecretStore(async () => (await defaultEngine()).secrets);
provideVolumeStore({ store: async () => (await defaultEngine()).volumes, pathOf: defaultVolumePath });
