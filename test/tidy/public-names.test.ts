/** The library's public names. Whoever adds one adds it here, and thinks twice: it can never go again. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as api from '../../src/index.ts';

const VALUES = [
  'App',
  'AppFunction',
  'BuiltImage',
  'DefinitionError',
  'Engine',
  'EventStream',
  'FilePatternMatcher',
  'HostError',
  'Image',
  'IntegrityError',
  'InternalError',
  'Mount',
  'RemoteError',
  'Secret',
  'StepError',
  'TsbuildError',
  'UsageError',
  'Volume',
  'jsFunction',
  'pythonFunction',
];

const TYPES = [
  'BuilderVersion',
  'IgnoreSpec',
  'IgnoreSyntax',
  'LocalPath',
  'StepOptions',
  'AddPythonPackagesOptions',
  'AppFunctionOptions',
  'AppOptions',
  'BuildFunctionTarget',
  'FunctionCallOptions',
  'ImageImports',
  'InvokeOptions',
  'RunFunctionOptions',
  'Annotation',
  'BuildEvent',
  'BuildLogEntry',
  'CacheSource',
  'CacheTarget',
  'CreateObjectOptions',
  'DeleteObjectOptions',
  'ListObjectsOptions',
  'StoredObject',
  'SecretFromDotenvOptions',
  'SecretFromNameOptions',
  'VolumeFileOptions',
  'DefinitionParams',
  'FailedStep',
  'FailedStepRunOptions',
  'FailedStepRunResult',
  'InputLike',
  'KeptStep',
  'KeptStepRunOptions',
  'OnError',
  'TerminalLike',
  'DescribeOptions',
  'DescribedDockerfile',
  'Diagnostic',
  'DockerfileCommandsOptions',
  'DockerfileContextFile',
  'DockerfileExport',
  'DockerfileText',
  'EngineBuildOptions',
  'EngineOptions',
  'EngineRunOptions',
  'ErrorCode',
  'EventStreamOptions',
  'FetchLogsOptions',
  'FromDockerfileOptions',
  'ImageLogs',
  'ImagePlan',
  'LayerPlan',
  'MountPlan',
  'OutputSpec',
  'PipOptions',
  'PoetryOptions',
  'PrivateReposOptions',
  'PyprojectOptions',
  'UvPipOptions',
  'UvSyncOptions',
  'VolumeFromNameOptions',
  'VolumeMap',
  'VolumeMountOptions',
  'ParamDeclaration',
  'ParamValue',
  'ParamValues',
  'WrittenOutput',
];

test('src/index.ts exports these values, and no others', () => {
  expect(Object.keys(api).toSorted()).toEqual(VALUES);
});

test('src/index.ts exports these names, and no others', () => {
  const source = readFileSync(new URL('../../src/index.ts', import.meta.url), 'utf8').replaceAll(
    /\/\*[\s\S]*?\*\//g,
    '',
  );
  // Names have to be spelled out, so that this test can see them.
  expect(source).not.toMatch(/export\s+(\*|default|const|function|class|interface|type\s+\w+\s*=)/);
  const names = [...source.matchAll(/export\s+(?:type\s+)?\{([^}]*)\}/g)].flatMap(([, list = '']) =>
    list.split(',').map((name) => name.trim().replace(/^type\s+/, '')),
  );
  expect(names.filter((name) => name !== '').toSorted()).toEqual([...VALUES, ...TYPES].toSorted());
});
