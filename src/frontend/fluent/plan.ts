/** How steps are described (A0.6 of the Image API): documentation for users, and a surface for tests. */
import { canonicalJson, type Json } from '../../base/canonical-json.ts';
import { sha256Hex } from '../../base/sha256.ts';
import type { GpuRequest } from '../../graph/action.ts';
import type { Secret, SecretIdentity, SecretWarning } from '../../secret/secret.ts';
import { parseDockerfile } from '../dockerfile/parse.ts';
import type { BuilderVersion } from './builder-version.ts';
import type { Diagnostic } from './diagnostic.ts';
import { type BuildFunctionPlan, functionPlan, type ReadFunction } from './function-call.ts';
import { type Image, imageParts } from './image.ts';
import type { PlanOptions } from './image-engine.ts';
import type { CopyLocalStep, LayerDefinition, Step } from './layer-definition.ts';
import { lint } from './lint.ts';
import {
  type InputEntry,
  inputName,
  type LocalInput,
  type ScanInput,
  type ScannedFiles,
} from './local-input.ts';
import { type ContextsOf, declarationOf, type PlannedContext, planContexts } from './plan-contexts.ts';
import { type BaseSurroundings, type RegistryAuth, type ResolvedBase, resolveBase } from './resolve-base.ts';
import { resolveLayers } from './resolve-layers.ts';
import { type StandalonePython, standalonePython } from './standalone-python.ts';
import { planOfVolume, refuseSameVolume, type VolumePlan } from './volume-mounts.ts';

export interface ImagePlan {
  readonly builderVersion: BuilderVersion;
  /** `linux/amd64` or `linux/arm64`. */
  readonly platform: string;
  /** The factory's layer first. */
  readonly layers: readonly LayerPlan[];
  /** Pending local files, in the order of the calls. */
  readonly mounts: readonly MountPlan[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface PlanFile {
  readonly sha256: string;
  readonly mode: number;
  readonly link?: string;
}

export interface LayerPlan {
  readonly method: string;
  /** The first is a FROM line; `FROM base` for derived layers. */
  readonly commands: readonly string[];
  readonly contextFiles: Readonly<Record<string, PlanFile & { readonly size: number }>>;
  readonly contextMount:
    | null
    | { readonly files: Readonly<Record<string, PlanFile>>; readonly standalonePython?: never }
    | { readonly standalonePython: StandalonePython; readonly files?: never };
  readonly env: Readonly<Record<string, string>>;
  readonly secrets: readonly SecretIdentity[];
  /** Alternatives, the best first; empty is none. */
  readonly gpu: readonly GpuRequest[];
  readonly buildArgs: Readonly<Record<string, string>>;
  /** Sorted by path. */
  readonly volumes: readonly VolumePlan[];
  readonly registryAuth: RegistryAuth | null;
  /** What `runFunction` runs; what of it counts is in the key. */
  readonly buildFunction: BuildFunctionPlan | null;
  /** Own flag or an ancestor's. */
  readonly forceBuild: boolean;
  /** Hex SHA-256 of this layer's own definition (B2.1), parent excluded. */
  readonly definitionHash: string;
}

export interface MountPlan {
  readonly kind: 'file' | 'dir' | 'pythonSource';
  /** By absolute path in the container. */
  readonly files: Readonly<Record<string, PlanFile>>;
}

export interface PlanSurroundings extends BaseSurroundings {
  /** What is worth saying about a secret before its values are read. @defaultValue nothing */
  readonly secretWarnings?: (secret: Secret) => Promise<readonly SecretWarning[]>;
  readonly readFunction: ReadFunction;
  readonly scan: ScanInput;
  readonly contextsOf: ContextsOf;
}

/**
 * Reads local files through `surroundings.scan`; uses no network and executes nothing but what B6 allows.
 *
 * @throws {DefinitionError} whatever is marked "deferred" in B16.
 */
export async function planImage(
  image: Image,
  options: PlanOptions,
  surroundings: PlanSurroundings,
): Promise<ImagePlan> {
  const { layers: calls, mounts } = imageParts(image);
  const layers = await resolveLayers(calls, surroundings.scan);
  const [first] = layers as [LayerDefinition, ...LayerDefinition[]];
  const base = await resolveBase(first.base as NonNullable<LayerDefinition['base']>, options, surroundings);
  const inputs = [...layers.flatMap(inputsOf), ...mounts.map((mount) => mount.input)];
  const scanned = await scanAll(inputs, surroundings.scan);
  const contexts = await planContexts(layers, base.platform, surroundings.contextsOf);
  const found = (input: LocalInput) => scanned.get(inputName(input)) as ScannedFiles;

  const functions = await Promise.all(
    layers.map((layer) => planFunction(layer.steps, surroundings.readFunction)),
  );
  let forced = false;
  const plans = layers.map((layer, index) => {
    forced ||= layer.forceBuild;
    refuseSameVolume(layer.method, layer.volumes ?? [], surroundings.settings.environment);
    const own = index === 0 ? base : undefined;
    return planLayer(
      layer,
      own,
      base.builderVersion,
      forced,
      found,
      contexts.get(index),
      functions[index] ?? null,
    );
  });
  const secretFindings = await Promise.all(
    layers.map(async (layer, index) => await findingsOfSecrets(layer, index, surroundings)),
  );
  return {
    builderVersion: base.builderVersion,
    platform: `${base.platform.os}/${base.platform.architecture}`,
    layers: plans,
    mounts: mounts.map(({ kind, input }) => ({ kind, files: fileMap(found(input).entries) })),
    diagnostics: [
      ...base.diagnostics,
      ...callDiagnostics(layers),
      ...secretFindings.flat(),
      ...inputDiagnostics(layers, found),
      ...[...contexts].flatMap(([layer, context]) =>
        contextDiagnostics(context).map((each) => ({ ...each, layer })),
      ),
      ...mounts.flatMap(({ input }) => findingsOf(found(input))),
      ...(options.lint === true ? lint(layers) : []),
    ],
  };
}

/** Warnings about what the calls say, known before anything is read. */
export function callDiagnostics(layers: readonly LayerDefinition[]): Diagnostic[] {
  return layers.flatMap((layer, index) => [
    ...layer.diagnostics.map((each) => ({ ...each, layer: index })),
    ...(layer.forceBuild ? [forceLeft(layer.method, index)] : []),
  ]);
}

/** Warnings about the local files that the calls name. */
export function inputDiagnostics(
  layers: readonly LayerDefinition[],
  found: (input: LocalInput) => Pick<ScannedFiles, 'findings'>,
): Diagnostic[] {
  return layers.flatMap((layer, index) =>
    inputsOf(layer).flatMap((input) => findingsOf(found(input)).map((each) => ({ ...each, layer: index }))),
  );
}

async function findingsOfSecrets(
  { secrets }: LayerDefinition,
  layer: number,
  { secretWarnings }: PlanSurroundings,
): Promise<readonly Diagnostic[]> {
  const found = await Promise.all(secrets.map(async (secret) => (await secretWarnings?.(secret)) ?? []));
  return found.flat().map((warning) => ({ ...warning, layer }));
}

async function planFunction(
  steps: readonly Step[],
  readFunction: ReadFunction,
): Promise<BuildFunctionPlan | null> {
  const step = steps.find((each) => each.kind === 'function');
  return step === undefined
    ? null
    : functionPlan(step.carried, await readFunction(step.carried), step.args, step.kwargs);
}

/** Lines of a layer's steps, without `FROM`. Histories are made of them too. */
export function stepLines(steps: readonly Step[], found: (input: LocalInput) => ScannedFiles): string[] {
  return steps.flatMap((step) => stepLine(step, found));
}

function stepLine(step: Step, found: (input: LocalInput) => ScannedFiles): string | readonly string[] {
  switch (step.kind) {
    case 'run':
      return `RUN ${step.mounted === undefined ? '' : `${mountFlag(step.mounted.at)} `}${step.text}`;
    case 'function':
      return `RUN ${step.text}`;
    case 'copy-local':
      return found(step.input).form === 'file' ? step.textOfFile : step.textOfDirectory;
    case 'dockerfile':
      return step.lines;
    case 'copy-tool':
    case 'copy-python':
    case 'config':
    case 'workdir':
      return step.text;
  }
}

function mountFlag(at: string): string {
  return `--mount=type=bind,source=${at},target=${at},rw`;
}

/** Local files that the layer's steps name. */
export function inputsOf(layer: LayerDefinition): LocalInput[] {
  return [...copySteps(layer.steps).map((step) => step.input), ...mountedInputs(layer.steps)];
}

function mountedInputs(steps: readonly Step[]): LocalInput[] {
  return steps.flatMap((step) => (step.kind === 'run' ? (step.mounted?.inputs ?? []) : []));
}

function copySteps(steps: readonly Step[]): CopyLocalStep[] {
  return steps.filter((step) => step.kind === 'copy-local');
}

function planLayer(
  layer: LayerDefinition,
  base: ResolvedBase | undefined,
  builderVersion: BuilderVersion,
  forceBuild: boolean,
  found: (input: LocalInput) => ScannedFiles,
  context: PlannedContext | undefined,
  buildFunction: BuildFunctionPlan | null,
): LayerPlan {
  const steps = [...(base?.steps ?? []), ...layer.steps];
  checkDockerfiles(layer.steps);
  const commands = [...(base?.from ?? 'FROM base').split('\n'), ...stepLines(steps, found)];
  const contextFiles: Record<string, PlanFile & { size: number }> = {};
  let mounted: Record<string, PlanFile> | undefined;
  for (const step of copySteps(steps)) {
    const { form, entries } = found(step.input);
    if (form === 'file' && step.fileGoesTo === 'contextFiles') {
      for (const [path, entry] of entries) {
        contextFiles[path] = { ...planFile(entry), size: entry.sizeBytes };
      }
    } else {
      mounted = { ...mounted, ...fileMap(entries) };
    }
  }
  const python = steps.find((step) => step.kind === 'copy-python');
  for (const input of mountedInputs(steps)) {
    mounted = { ...mounted, ...fileMap(found(input).entries) };
  }
  for (const [path, entry] of context?.given ?? []) {
    contextFiles[path] = { ...planFile(entry), size: entry.sizeBytes };
  }
  if (context !== undefined && context.files.size > 0) {
    mounted = fileMap(context.files);
  }
  const plan = {
    method: layer.method,
    commands,
    contextFiles,
    contextMount:
      python !== undefined
        ? { standalonePython: standalonePython(python, builderVersion) }
        : mounted === undefined
          ? null
          : { files: mounted },
    env: { ...layer.env },
    secrets: layer.secrets.map((secret) => secret.identity),
    gpu: layer.gpu,
    buildArgs: { ...declarationOf(layer)?.buildArgs },
    volumes: (layer.volumes ?? []).map(planOfVolume),
    registryAuth: base?.registryAuth ?? null,
    buildFunction,
    forceBuild,
  } satisfies Omit<LayerPlan, 'definitionHash'>;
  const extras = { ...layer.keyExtras, ...base?.keyExtras };
  // What exists already does not change with the builder version.
  const version = base?.source.kind === 'stored' ? undefined : base?.builderVersion;
  return { ...plan, definitionHash: definitionHash(plan, extras, version) };
}

/** Only what was asked for: the hash of a request does not change when more can be asked for. */
function gpuFields({ type, count, devices, memoryBytes, compute }: GpuRequest) {
  return {
    type,
    count,
    ...(devices === undefined ? {} : { devices }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(compute === undefined ? {} : { compute }),
  };
}

/** A mistake in the text is said by the plan already, as it is for `fromDockerfile`. @throws {DefinitionError} */
function checkDockerfiles(steps: readonly Step[]): void {
  for (const step of steps) {
    if (step.kind === 'dockerfile' && step.declaration.file.kind === 'text') {
      const { text, name } = step.declaration.file;
      parseDockerfile(text, { name });
    }
  }
}

/** B2.1: every field that counts, by name; a field that is added to the plan is not in the hash by accident. */
function definitionHash(
  plan: Omit<LayerPlan, 'definitionHash'>,
  extras: Readonly<Record<string, Json>>,
  builderVersion: BuilderVersion | undefined,
): string {
  const contextFiles = Object.entries(plan.contextFiles).map(([path, { sha256, mode }]) => ({
    path,
    sha256,
    mode,
  }));
  return sha256Hex(
    canonicalJson({
      commands: plan.commands,
      contextFiles,
      contextMount: mountKey(plan.contextMount),
      // Names and values, sorted by name: the order in which they were written changes nothing.
      env: plan.env,
      secrets: plan.secrets,
      gpu: plan.gpu.map(gpuFields),
      buildArgs: plan.buildArgs,
      volumes: plan.volumes.map(({ path, name, readOnly, subPath }) => ({
        path,
        name,
        readOnly,
        ...(subPath === undefined ? {} : { subPath }),
      })),
      registryAuth: plan.registryAuth,
      buildFunction: plan.buildFunction,
      builderVersion: builderVersion ?? null,
      extras,
    }),
  );
}

function mountKey(mount: LayerPlan['contextMount']): Json {
  if (mount === null) {
    return null;
  }
  if (mount.standalonePython !== undefined) {
    const { series, release, version, libc } = mount.standalonePython;
    return { series, release, version, libc };
  }
  return Object.entries(mount.files).map(([path, { sha256, mode, link }]) => ({
    path,
    sha256,
    mode,
    ...(link === undefined ? {} : { link }),
  }));
}

async function scanAll(inputs: readonly LocalInput[], scan: ScanInput): Promise<Map<string, ScannedFiles>> {
  const unique = new Map(inputs.map((input) => [inputName(input), input]));
  const results = await Promise.all([...unique.values()].map(scan));
  return new Map([...unique.keys()].map((name, index) => [name, results[index] as ScannedFiles]));
}

function fileMap(entries: ReadonlyMap<string, Omit<InputEntry, 'sizeBytes'>>): Record<string, PlanFile> {
  return Object.fromEntries([...entries].map(([path, entry]) => [path, planFile(entry)]));
}

function planFile({ sha256, mode, link }: Omit<InputEntry, 'sizeBytes'>): PlanFile {
  return { sha256, mode, ...(link === undefined ? {} : { link }) };
}

/** Warnings about a local input. Paths in them are the user's own, relative to what was added. */
export function findingsOf({ findings }: Pick<ScannedFiles, 'findings'>): Diagnostic[] {
  const found: Diagnostic[] = [];
  if (findings.unfiltered.length > 0) {
    found.push({
      code: 'W_COPY_UNFILTERED',
      message: `${list(findings.unfiltered)} will be in the image; pass ignore to leave it out`,
    });
  }
  found.push(...findings.rootOnlyPatterns.map(rootOnly));
  if (findings.linksOutside.length > 0) {
    found.push({
      code: 'W_SYMLINK_OUTSIDE',
      message: `links that lead out of the directory were left out: ${list(findings.linksOutside)}`,
    });
  }
  return found;
}

function rootOnly(pattern: string): Diagnostic {
  const message = `the pattern '${pattern}' matches nothing at the top of the directory; '**/${pattern}' would match below`;
  return { code: 'W_IGNORE_ROOT_ONLY', message };
}

function contextDiagnostics(context: PlannedContext): Diagnostic[] {
  return [...context.warnings, ...context.rootOnlyPatterns.map(rootOnly)];
}

function forceLeft(method: string, layer: number): Diagnostic {
  const message = `${method}() has forceBuild: true; it and what follows are built anew every time`;
  return { code: 'W_FORCE_BUILD_LEFT', message, layer };
}

const LISTED = 5;

function list(paths: readonly string[]): string {
  const shown = paths.slice(0, LISTED).map((path) => `'${path}'`);
  return paths.length > LISTED ? `${shown.join(', ')} and ${paths.length - LISTED} more` : shown.join(', ');
}
