/**
 * Which names a function takes from around it (B12.2 of the Image API). A function that travels as text has nothing around it
 * in the container, so all of them must be known there.
 */
import { createRequire } from 'node:module';
import type { AnyNode, Function as FunctionNode, Node, Pattern } from 'acorn';
import { JAVASCRIPT_GLOBALS } from './javascript-globals.ts';

type Acorn = typeof import('acorn');

/** What the text of a function is. */
export interface FunctionText {
  /** An expression whose value is the function. */
  readonly expression: string;
  /** What stands in front of the text in the expression, on the same line. */
  readonly prefixLength: number;
  readonly generator: boolean;
  /** Free names that no module in Node knows; sorted. */
  readonly captures: readonly string[];
}

let loaded: Acorn | undefined;
let load = (): Acorn => createRequire(import.meta.url)('acorn') as Acorn;

/** Loaded by the first function that is analysed: most definitions have none. */
export function acorn(): Acorn {
  loaded ??= load();
  return loaded;
}

/** For where this module does not lie among its packages: in a bundle, in a container. */
export function provideAcorn(loader: () => Acorn): void {
  load = loader;
}

/** @returns Undefined for what is not the text of a function: a class, native code, an accessor. */
export function analyseFunction(text: string): FunctionText | undefined {
  // What `toString` gives for a method of an object is only an expression within one.
  for (const [before, after] of [
    ['(', ')'],
    ['Object.values({', '})[0]'],
  ] as const) {
    const expression = `${before}${text}\n${after}`;
    const found = parseFunction(expression);
    if (found !== undefined) {
      return {
        expression,
        prefixLength: before.length,
        generator: found.generator === true,
        captures: capturesOf(found),
      };
    }
  }
  return undefined;
}

function parseFunction(expression: string): FunctionNode | undefined {
  let parsed: AnyNode;
  try {
    parsed = acorn().parseExpressionAt(expression, 0, { ecmaVersion: 'latest', sourceType: 'module' });
  } catch {
    return undefined;
  }
  let node: AnyNode = parsed;
  if (node.type === 'MemberExpression' && node.object.type === 'CallExpression') {
    const [argument] = node.object.arguments;
    const property = argument?.type === 'ObjectExpression' ? argument.properties[0] : undefined;
    if (argument?.type !== 'ObjectExpression' || argument.properties.length !== 1) {
      return undefined;
    }
    if (property?.type !== 'Property' || !property.method) {
      return undefined;
    }
    node = property.value;
  }
  return node.type === 'FunctionExpression' || node.type === 'ArrowFunctionExpression' ? node : undefined;
}

function capturesOf(root: FunctionNode): readonly string[] {
  const free = new Set<string>();
  new ScopeWalk((name) => free.add(name)).visit(root as AnyNode, undefined);
  return [...free].filter((name) => !JAVASCRIPT_GLOBALS.has(name)).sort();
}

interface Scope {
  readonly names: Set<string>;
  readonly parent: Scope | undefined;
}

class ScopeWalk {
  readonly #onFree: (name: string) => void;

  constructor(onFree: (name: string) => void) {
    this.#onFree = onFree;
  }

  visit(node: AnyNode | null | undefined, scope: Scope | undefined): void {
    if (node === null || node === undefined) {
      return;
    }
    switch (node.type) {
      case 'Identifier':
        this.#reference(node.name, scope);
        return;
      case 'FunctionDeclaration':
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
        this.#function(node, scope);
        return;
      case 'ClassDeclaration':
      case 'ClassExpression': {
        const own = within(scope, node.id ? [node.id.name] : []);
        this.visit(node.superClass as AnyNode | null, own);
        this.visit(node.body, own);
        return;
      }
      case 'BlockStatement':
      case 'StaticBlock': {
        const own = within(scope, lexicalNames(node.body));
        if (node.type === 'StaticBlock') {
          addVars(node.body, own.names);
        }
        this.#all(node.body, own);
        return;
      }
      case 'SwitchStatement': {
        this.visit(node.discriminant, scope);
        const own = within(scope, lexicalNames(node.cases.flatMap((each) => each.consequent)));
        this.#all(node.cases, own);
        return;
      }
      case 'ForStatement':
      case 'ForInStatement':
      case 'ForOfStatement': {
        const head = node.type === 'ForStatement' ? node.init : node.left;
        this.#children(node, within(scope, head === null || head === undefined ? [] : lexicalNames([head])));
        return;
      }
      case 'CatchClause': {
        const own = within(scope, node.param ? patternNames(node.param) : []);
        this.#children(node, own);
        return;
      }
      case 'UnaryExpression':
        // `typeof x` asks whether there is one.
        if (node.operator !== 'typeof' || node.argument.type !== 'Identifier') {
          this.visit(node.argument, scope);
        }
        return;
      case 'MemberExpression':
        this.visit(node.object, scope);
        if (node.computed) {
          this.visit(node.property, scope);
        }
        return;
      case 'Property':
      case 'MethodDefinition':
      case 'PropertyDefinition':
        if (node.computed) {
          this.visit(node.key, scope);
        }
        this.visit(node.value, scope);
        return;
      case 'LabeledStatement':
        this.visit(node.body, scope);
        return;
      case 'BreakStatement':
      case 'ContinueStatement':
      case 'MetaProperty':
        return;
      default:
        this.#children(node, scope);
    }
  }

  #function(node: FunctionNode, scope: Scope | undefined): void {
    const own = within(scope, node.params.flatMap(patternNames));
    if (node.type === 'FunctionExpression' && node.id) {
      own.names.add(node.id.name);
    }
    if (node.type !== 'ArrowFunctionExpression') {
      own.names.add('arguments');
    }
    if (node.body.type === 'BlockStatement') {
      addVars(node.body.body, own.names);
    }
    this.#all(node.params, own);
    this.visit(node.body, own);
  }

  #reference(name: string, scope: Scope | undefined): void {
    for (let at = scope; at !== undefined; at = at.parent) {
      if (at.names.has(name)) {
        return;
      }
    }
    this.#onFree(name);
  }

  #all(nodes: readonly (Node | null)[], scope: Scope | undefined): void {
    for (const node of nodes) {
      this.visit(node as AnyNode | null, scope);
    }
  }

  #children(node: Node, scope: Scope | undefined): void {
    this.#all(childrenOf(node), scope);
  }
}

function within(parent: Scope | undefined, names: readonly string[]): Scope {
  return { names: new Set(names), parent };
}

function childrenOf(node: Node): Node[] {
  return Object.values(node).flatMap((value: unknown) =>
    (Array.isArray(value) ? (value as unknown[]) : [value]).filter(isNode),
  );
}

function isNode(value: unknown): value is Node {
  return value !== null && typeof value === 'object' && typeof (value as Node).type === 'string';
}

/** Names that a block declares for itself: let, const, class, and functions, which are its own in strict code. */
function lexicalNames(nodes: readonly Node[]): string[] {
  return (nodes as readonly AnyNode[]).flatMap((node) => {
    switch (node.type) {
      case 'VariableDeclaration':
        return node.kind === 'var' ? [] : node.declarations.flatMap(({ id }) => patternNames(id));
      case 'FunctionDeclaration':
      case 'ClassDeclaration':
        return node.id === null ? [] : [node.id.name];
      default:
        return [];
    }
  });
}

/** `var` belongs to the function, however deep it stands. */
function addVars(nodes: readonly Node[], names: Set<string>): void {
  for (const node of nodes as readonly AnyNode[]) {
    switch (node.type) {
      case 'FunctionDeclaration':
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
      case 'ClassDeclaration':
      case 'ClassExpression':
        break;
      case 'VariableDeclaration':
        if (node.kind === 'var') {
          for (const name of node.declarations.flatMap(({ id }) => patternNames(id))) {
            names.add(name);
          }
        }
        break;
      default:
        addVars(childrenOf(node), names);
    }
  }
}

function patternNames(pattern: Pattern): string[] {
  switch (pattern.type) {
    case 'Identifier':
      return [pattern.name];
    case 'ObjectPattern':
      return pattern.properties.flatMap((property) =>
        patternNames(property.type === 'RestElement' ? property.argument : property.value),
      );
    case 'ArrayPattern':
      return pattern.elements.flatMap((element) => (element === null ? [] : patternNames(element)));
    case 'RestElement':
      return patternNames(pattern.argument);
    case 'AssignmentPattern':
      return patternNames(pattern.left);
    case 'MemberExpression':
      return [];
  }
}
