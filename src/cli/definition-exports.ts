/**
 * What a definition file exports, and what an export may be: an image, an object of images, an app or a function of one, a
 * promise of any, or a function that returns one of these. Everything else is the file's own business. Another kind of value that holds images
 * gets its case in `imagesOf`.
 */
import { nearName } from '../base/near-name.ts';
import type { DefinitionError } from '../errors.ts';
import type { ParamValue } from '../frontend/fluent/definition-params.ts';
import { failed } from './definition-failed.ts';
import type { DefinedApp, DefinedFunction, DefinedImage } from './engine-api.ts';
import { type GivenParam, paramValues } from './param-values.ts';

/** Between a file and the name of an export. */
export const SEPARATOR = '::';
/** The export that declares parameters. */
const PARAMS = 'params';
/** What Node calls the whole of a CommonJS module, besides `default`. */
const WHOLE_COMMONJS = 'module.exports';

/** Classes by which values are recognised. Their constructors are nobody's business. */
export interface ExportKinds {
  readonly Image: { readonly prototype: DefinedImage };
  readonly App: { readonly prototype: DefinedApp };
  readonly AppFunction: { readonly prototype: DefinedFunction };
}

/** `default`, the name of the export, or that of an image in an export that holds several. */
export type NamedImage = readonly [name: string, image: DefinedImage];

/** Inside of one export. An export that is an image itself has the name ''. */
type ExportedImages = ReadonlyMap<string, DefinedImage>;
type Factory = (params: Readonly<Record<string, ParamValue>>) => unknown;

/** Calls each function once, however many of its images are asked for. */
export class DefinitionExports {
  readonly #exports: ReadonlyMap<string, unknown>;
  readonly #shown: string;
  readonly #kinds: ExportKinds;
  readonly #params: Readonly<Record<string, ParamValue>>;
  readonly #values = new Map<unknown, unknown>();
  #calledAny = false;

  /**
   * @param shown - The file as messages name it.
   * @throws {UsageError} `E_PARAM_UNKNOWN`, `E_PARAM_VALUE`. @throws {DefinitionError} `E_DEFINITION_LOAD`
   */
  constructor(
    namespace: Readonly<Record<string, unknown>>,
    shown: string,
    kinds: ExportKinds,
    params: readonly GivenParam[],
  ) {
    const names = Object.keys(namespace).filter((each) => each !== WHOLE_COMMONJS);
    this.#exports = new Map(names.sort(byRank).map((each) => [each, namespace[each]]));
    this.#shown = shown;
    this.#kinds = kinds;
    const declared = namespace[PARAMS];
    this.#params = paramValues(imagesOf(declared, kinds) === undefined ? declared : undefined, params, shown);
  }

  /** Whether a function got to see the parameters. */
  get calledAny(): boolean {
    return this.#calledAny;
  }

  /**
   * All images. Of functions, only the default export is called: others are steps, plugins and whatever else a file
   * exports, which nobody meant to run.
   *
   * @throws {DefinitionError} `E_DEFINITION_LOAD` when there is none; what a function threw.
   */
  async all(): Promise<readonly NamedImage[]> {
    const found: NamedImage[] = [];
    for (const [exportName, exported] of this.#exports) {
      if (isFactory(exported) && exportName !== 'default') {
        continue;
      }
      const value = await this.#valueOf(exported);
      const images = imagesOf(value, this.#kinds);
      if (images !== undefined) {
        found.push(...named(exportName, images));
      } else if (isFactory(exported)) {
        throw this.#notAnImage(exportName, value);
      }
    }
    if (found.length === 0) {
      throw this.#noImage();
    }
    return found;
  }

  /** @throws {DefinitionError} `E_DEFINITION_LOAD` for a name that is none, or no image; what a function threw. */
  async named(wanted: readonly string[]): Promise<readonly NamedImage[]> {
    const found: NamedImage[] = [];
    for (const name of wanted) {
      const [exportName, inner] = this.#resolve(name);
      const value = await this.#valueOf(this.#exports.get(exportName));
      const images = imagesOf(value, this.#kinds);
      if (inner === undefined) {
        if (images === undefined) {
          throw this.#notAnImage(exportName, value);
        }
        found.push(...named(exportName, images));
        continue;
      }
      const image = images?.get(inner);
      if (image === undefined) {
        throw this.#noExport(name, images === undefined ? [] : named(exportName, images));
      }
      found.push(...named(exportName, new Map([[inner, image]])));
    }
    return found;
  }

  /** `web` is an export, or else an image of the default export's object; `name.web` is one of another export's. */
  #resolve(name: string): readonly [exportName: string, inner: string | undefined] {
    if (this.#exports.has(name)) {
      return [name, undefined];
    }
    const dot = name.indexOf('.');
    if (dot > 0 && this.#exports.has(name.slice(0, dot))) {
      return [name.slice(0, dot), name.slice(dot + 1)];
    }
    if (this.#exports.has('default')) {
      return ['default', name];
    }
    throw this.#noExport(name, []);
  }

  async #valueOf(exported: unknown): Promise<unknown> {
    if (!this.#values.has(exported)) {
      const factory = isFactory(exported);
      this.#calledAny ||= factory;
      this.#values.set(exported, await (factory ? exported(this.#params) : exported));
    }
    return this.#values.get(exported);
  }

  #noImage(): DefinitionError {
    const names = [...this.#exports.keys()];
    const factory = names.find((each) => isFactory(this.#exports.get(each)));
    return failed(
      `'${this.#shown}' exports no image${names.length === 0 ? '' : ` (it exports ${names.join(', ')})`}`,
      undefined,
      factory === undefined
        ? "export one: 'export default Image.debianSlim()'"
        : `functions other than the default export are called when they are named: ${this.#shown}${SEPARATOR}${factory}`,
    );
  }

  #notAnImage(exportName: string, value: unknown): DefinitionError {
    const verb = isFactory(this.#exports.get(exportName)) ? 'returned' : 'is';
    return failed(
      `export '${exportName}' of '${this.#shown}' ${verb} ${whatElse(value, this.#kinds)}, not an image`,
      undefined,
      'an export is an Image, an object of Images, a promise of either, or a function that returns one of these',
    );
  }

  #noExport(name: string, inside: readonly NamedImage[]): DefinitionError {
    const names = [...new Set([...this.#exports.keys(), ...inside.map(([each]) => each)])];
    const near = nearName(name, names);
    const hint =
      near === undefined
        ? `it exports ${names.join(', ') || 'nothing'}`
        : `did you mean '${SEPARATOR}${near}'?`;
    return failed(`'${this.#shown}' has no export '${name}'`, undefined, hint);
  }
}

/** A function of an app, with the name of its export; of one that only its app exports, `app.function`. */
export type NamedFunction = readonly [name: string, of: DefinedFunction];

/** Functions that are exported; where none is, those of exported apps. `wanted` are names of exports; none means all. */
export function functionsOf(
  namespace: Readonly<Record<string, unknown>>,
  wanted: readonly string[],
  { App, AppFunction }: ExportKinds,
): readonly NamedFunction[] {
  const names = wanted.length > 0 ? wanted : Object.keys(namespace).sort(byRank);
  const found = new Map<DefinedFunction, string>();
  const add = (of: DefinedFunction, name: string) => {
    if (!found.has(of)) {
      found.set(of, name);
    }
  };
  for (const name of names) {
    const value = namespace[name];
    if (isA(value, AppFunction)) {
      add(value, name);
    }
  }
  for (const name of found.size === 0 ? names : []) {
    const value = namespace[name];
    for (const of of isA(value, App) ? value.functions : []) {
      add(of, `${name}.${of.name}`);
    }
  }
  return [...found].map(([of, name]) => [name, of]);
}

/** Those of the default export's object go by their own names. */
function named(exportName: string, images: ExportedImages): NamedImage[] {
  return [...images].map(([inner, image]) => {
    const name = inner === '' ? exportName : exportName === 'default' ? inner : `${exportName}.${inner}`;
    return [name, image];
  });
}

/** `default` first, then by name: the order in which a module object has them, whoever loaded it. */
function byRank(left: string, right: string): number {
  if (left === 'default' || right === 'default') {
    return left === right ? 0 : left === 'default' ? -1 : 1;
  }
  return left < right ? -1 : left > right ? 1 : 0;
}

/** @returns Undefined when it is nothing that holds images. */
function imagesOf(value: unknown, kinds: ExportKinds): ExportedImages | undefined {
  if (isImage(value, kinds)) {
    return new Map([['', value]]);
  }
  if (isA(value, kinds.AppFunction)) {
    return new Map([['', value.image]]);
  }
  if (isA(value, kinds.App)) {
    return value.images.length === 0
      ? undefined
      : new Map(value.images.map((image, index) => [index === 0 ? '' : String(index + 1), image]));
  }
  if (!isPlainObject(value)) {
    return undefined;
  }
  const entries = Object.entries(value);
  return entries.length > 0 && entries.every(([, each]) => isImage(each, kinds))
    ? new Map(entries as [string, DefinedImage][])
    : undefined;
}

/** A function that is no class: it may return what an export may be, or a promise of it. */
function isFactory(value: unknown): value is Factory {
  return typeof value === 'function' && !/^class\b/.test(Function.prototype.toString.call(value));
}

/** What a value is that holds no images, to say so. */
function whatElse(value: unknown, kinds: ExportKinds): string {
  if (typeof value === 'function') {
    return isFactory(value) ? 'a function' : 'a class';
  }
  if (!isPlainObject(value)) {
    return kindOf(value);
  }
  const odd = Object.entries(value).find(([, each]) => !isImage(each, kinds));
  return odd === undefined ? 'an empty object' : `an object whose '${odd[0]}' is ${kindOf(odd[1])}`;
}

function isImage(value: unknown, { Image }: ExportKinds): value is DefinedImage {
  return isA(value, Image);
}

export function isA<T extends object>(value: unknown, of: { readonly prototype: T }): value is T {
  return value instanceof (of as unknown as new () => object);
}

function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) {
    return false;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // The `module.exports` of CommonJS is one, too.
  return prototype === Object.prototype || prototype === null;
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) {
    return String(value);
  }
  if (Array.isArray(value)) {
    return 'an array';
  }
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
