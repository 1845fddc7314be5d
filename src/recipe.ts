/**
 * What `import … from 'tsbuild'` means to a function in a container: the same names, with which definitions can be written and
 * recipe hashes computed. Whatever would need an engine says that there is none.
 */
import * as acorn from 'acorn';
import { DefinitionError } from './errors.ts';
import { provideDefaultEngine } from './frontend/fluent/image-engine.ts';
import { provideAcorn } from './frontend/fluent/javascript-captures.ts';

export {
  DefinitionError,
  HostError,
  IntegrityError,
  InternalError,
  RemoteError,
  StepError,
  TsbuildError,
  UsageError,
} from './errors.ts';
export { App, AppFunction } from './frontend/fluent/app.ts';
export { BuiltImage } from './frontend/fluent/built-image.ts';
export { jsFunction, pythonFunction } from './frontend/fluent/function-target.ts';
export { Image } from './frontend/fluent/image.ts';
export { Mount } from './frontend/fluent/mount.ts';
export { Volume } from './frontend/fluent/volume.ts';
export { FilePatternMatcher } from './patterns/file-pattern-matcher.ts';
export { Secret } from './secret/secret.ts';
export { EventStream } from './solver/event-stream.ts';

provideAcorn(() => acorn);

function noEngine(): never {
  throw new DefinitionError('images cannot be built inside of a container of a function', {
    code: 'E_ARG_TYPE',
  });
}

provideDefaultEngine(noEngine);

/** There is none here. */
export const Engine = { open: noEngine };
