import type { CheckName } from '../dockerfile/check-rules.ts';

/** Something that is worth saying and never fatal (B14 of the Image API). */
export interface Diagnostic {
  /** Of the build checks of a Dockerfile it is the rule's name. */
  readonly code: DiagnosticCode | CheckName;
  readonly message: string;
  /** Where in a Dockerfile; `line` is from 1. */
  readonly source?: { readonly file: string; readonly line?: number };
  /** Position of the call in the chain; 0 is the base. */
  readonly layer?: number;
}

export type DiagnosticCode =
  | 'W_APT_PURGE'
  | 'W_BUILD_ARG_UNUSED'
  | 'W_CD_LOST'
  | 'W_COPY_UNFILTERED'
  | 'W_DOTENV_MISSING'
  | 'W_DEVICE'
  | 'W_EXPORT_LOST'
  | 'W_FILE_CHANGED_DURING_BUILD'
  | 'W_FORCE_BUILD_LEFT'
  | 'W_GLOBAL_UNSERIALIZABLE'
  | 'W_GPU_IGNORED'
  | 'W_GPU_TYPE'
  | 'W_IGNORED_OPTION'
  | 'W_IGNORE_ROOT_ONLY'
  | 'W_ORDER'
  | 'W_PIP_WHERE_UV'
  | 'W_PYTHON_FALLBACK'
  | 'W_SECRET_IN_LAYER'
  | 'W_SYMLINK_OUTSIDE'
  | 'W_SYNTAX_IGNORED'
  | 'W_UNPINNED';
