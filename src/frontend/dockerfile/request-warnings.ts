/** What is worth saying about how a Dockerfile is built, besides the build checks. */
import { nearName } from '../../base/near-name.ts';
import type { Dockerfile, StageInstruction } from './instruction.ts';
import type { DockerfileRequest } from './request.ts';

export interface RequestWarning {
  readonly code: 'W_BUILD_ARG_UNUSED' | 'W_SYNTAX_IGNORED';
  readonly message: string;
}

/** Build args that are there without an ARG. */
const PREDEFINED =
  /^(BUILDKIT_.*|SOURCE_DATE_EPOCH|(BUILD|TARGET)(PLATFORM|OS|OSVERSION|ARCH|VARIANT)|TARGETSTAGE)$/;
const PROXIES = /^(HTTP|HTTPS|FTP|NO|ALL)_PROXY$/i;
/** Images of this family are frontends of the language that tsbuild reads itself. */
const KNOWN_FRONTEND = /^(docker\.io\/)?docker\/dockerfile(-upstream)?([:@].*)?$|^dockerfile\.v0$/;

export function requestWarnings(
  dockerfile: Dockerfile,
  request: DockerfileRequest,
): readonly RequestWarning[] {
  return [...unusedBuildArgs(dockerfile, request), ...ignoredSyntax(dockerfile, request)];
}

function unusedBuildArgs(
  { globalArgs, stages }: Dockerfile,
  { buildArgs }: DockerfileRequest,
): readonly RequestWarning[] {
  const instructions: readonly StageInstruction[] = [
    ...globalArgs,
    ...stages.flatMap((stage) => stage.instructions),
  ];
  // A trigger of a base may declare one too; that is known later, and such a base is rare.
  const declared = new Set(
    instructions.flatMap((each) => (each.kind === 'arg' ? each.args.map(({ name }) => name) : [])),
  );
  return Object.keys(buildArgs)
    .filter((name) => !declared.has(name) && !PREDEFINED.test(name) && !PROXIES.test(name))
    .map((name) => {
      const near = nearName(name, [...declared]);
      return {
        code: 'W_BUILD_ARG_UNUSED' as const,
        message: `no ARG declares the build arg '${name}'${near === undefined ? '' : `; did you mean '${near}'?`}`,
      };
    });
}

/** The frontend is built in: a syntax of Docker's family is what it reads anyway, and another one cannot be run. */
function ignoredSyntax(
  { directives }: Dockerfile,
  { buildArgs }: DockerfileRequest,
): readonly RequestWarning[] {
  const syntax = buildArgs.BUILDKIT_SYNTAX ?? directives.syntax;
  return syntax === undefined || syntax === '' || KNOWN_FRONTEND.test(syntax)
    ? []
    : [
        {
          code: 'W_SYNTAX_IGNORED',
          message: `the frontend '${syntax}' is not run: the file is read as a Dockerfile`,
        },
      ];
}
