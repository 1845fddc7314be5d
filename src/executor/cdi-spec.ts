/**
 * One specification of the Container Device Interface, checked.
 *
 * Source: CDI specification 1.1.0, SPEC.md. A document that uses a field that it does not know, or one that is newer than the
 * version that it claims, is not valid.
 */

export interface CdiSpec {
  /** `vendor.com/class`. */
  readonly kind: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly devices: readonly CdiDevice[];
  /** Applied once if any of the devices is used. */
  readonly edits: CdiEdits;
}

export interface CdiDevice {
  readonly name: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly edits: CdiEdits;
}

export interface CdiEdits {
  readonly env: readonly (readonly [name: string, value: string])[];
  readonly deviceNodes: readonly { readonly path: string; readonly hostPath: string }[];
  readonly mounts: readonly CdiMount[];
  readonly hooks: readonly CdiHook[];
  readonly additionalGids: readonly number[];
  /** Fields that nothing is done for: they are about limits and networks, not about devices of a build. */
  readonly ignored: readonly string[];
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly type: string;
  readonly options: readonly string[];
}

export interface CdiHook {
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
}

/** Why a document is not a specification. */
export class CdiSpecError extends Error {}

const VERSIONS = ['0.3.0', '0.4.0', '0.5.0', '0.6.0', '0.7.0', '0.8.0', '1.0.0', '1.1.0'];
const SPEC_FIELDS = ['cdiVersion', 'kind', 'annotations', 'devices', 'containerEdits'];
const DEVICE_FIELDS = ['name', 'annotations', 'containerEdits'];
const EDIT_FIELDS = ['env', 'deviceNodes', 'netDevices', 'hooks', 'mounts', 'intelRdt', 'additionalGids'];
const NODE_FIELDS = ['path', 'hostPath', 'type', 'major', 'minor', 'fileMode', 'permissions', 'uid', 'gid'];
const MOUNT_FIELDS = ['hostPath', 'containerPath', 'options', 'type'];
const HOOK_FIELDS = ['hookName', 'path', 'args', 'env', 'timeout'];
const RDT_FIELDS_OF_110 = ['schemata', 'enableMonitoring'];
/** Taken out with 1.1.0. */
const RDT_FIELDS_UNTIL_110 = ['enableCMT', 'enableMBM'];
const RDT_FIELDS = ['closID', 'l3CacheSchema', 'memBwSchema', ...RDT_FIELDS_UNTIL_110, ...RDT_FIELDS_OF_110];
const NET_DEVICE_FIELDS = ['hostInterfaceName', 'name'];
const HOOK_NAMES = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
];
const NODE_TYPES = ['b', 'c', 'u', 'p'];
const VENDOR_OR_CLASS = /^[A-Za-z](?:[\w.-]*[A-Za-z0-9])?$/;
const DEVICE_NAME = /^[A-Za-z0-9](?:[\w.:-]*[A-Za-z0-9])?$/;

type Fields = Readonly<Record<string, unknown>>;

/** Notes the newest version that anything in the document needs, and the first that does not have it any more. */
interface Needs {
  version: string;
  before?: string;
}

/** @throws {CdiSpecError} */
export function parseCdiSpec(document: unknown): CdiSpec {
  const fields = objectOf(document, 'the document', SPEC_FIELDS);
  const claimed = String(fields.cdiVersion ?? '').replace(/^v/, '');
  if (!VERSIONS.includes(claimed)) {
    throw new CdiSpecError(`cdiVersion '${claimed}' is none of ${VERSIONS.join(', ')}`);
  }
  const needs: Needs = { version: '0.3.0' };
  const kind = text(fields.kind, 'kind');
  const [vendor = '', className = '', ...more] = kind.split('/');
  if (!VENDOR_OR_CLASS.test(vendor) || !VENDOR_OR_CLASS.test(className) || more.length > 0) {
    throw new CdiSpecError(`kind '${kind}' is not vendor/class`);
  }
  if (className.includes('.')) {
    need(needs, '0.6.0');
  }
  const devices = list(fields.devices, 'devices').map((device) => deviceOf(device, needs));
  if (devices.length === 0) {
    throw new CdiSpecError('it has no devices');
  }
  const names = new Set(devices.map(({ name }) => name));
  if (names.size < devices.length) {
    throw new CdiSpecError('a device is in it twice');
  }
  const spec = {
    kind,
    annotations: annotationsOf(fields.annotations, needs),
    devices,
    edits: editsOf(fields.containerEdits ?? {}, needs),
  };
  if (VERSIONS.indexOf(needs.version) > VERSIONS.indexOf(claimed)) {
    throw new CdiSpecError(`it says cdiVersion ${claimed} and uses what came with ${needs.version}`);
  }
  if (needs.before !== undefined && VERSIONS.indexOf(claimed) >= VERSIONS.indexOf(needs.before)) {
    throw new CdiSpecError(`it says cdiVersion ${claimed} and uses what went with ${needs.before}`);
  }
  return spec;
}

function deviceOf(value: unknown, needs: Needs): CdiDevice {
  const fields = objectOf(value, 'a device', DEVICE_FIELDS);
  const name = text(fields.name, 'name of a device');
  if (!DEVICE_NAME.test(name)) {
    throw new CdiSpecError(`'${name}' cannot be the name of a device`);
  }
  if (/^\d/.test(name)) {
    need(needs, '0.5.0');
  }
  return {
    name,
    annotations: annotationsOf(fields.annotations, needs),
    edits: editsOf(fields.containerEdits ?? {}, needs),
  };
}

function editsOf(value: unknown, needs: Needs): CdiEdits {
  const fields = objectOf(value, 'containerEdits', EDIT_FIELDS);
  if (fields.netDevices !== undefined) {
    need(needs, '1.1.0');
  }
  for (const device of list(fields.netDevices, 'netDevices')) {
    const { hostInterfaceName, name } = objectOf(device, 'a net device', NET_DEVICE_FIELDS);
    text(hostInterfaceName, 'hostInterfaceName of a net device');
    text(name, 'name of a net device');
  }
  if (fields.intelRdt !== undefined) {
    const rdt = objectOf(fields.intelRdt, 'intelRdt', RDT_FIELDS);
    need(needs, RDT_FIELDS_OF_110.some((name) => name in rdt) ? '1.1.0' : '0.7.0');
    if (RDT_FIELDS_UNTIL_110.some((name) => name in rdt)) {
      needs.before = '1.1.0';
    }
  }
  const additionalGids = list(fields.additionalGids, 'additionalGids').map((gid) => {
    need(needs, '0.7.0');
    if (!Number.isInteger(gid) || (gid as number) < 0 || (gid as number) >= 0xffffffff) {
      throw new CdiSpecError(`'${String(gid)}' is no group id`);
    }
    return gid as number;
  });
  return {
    env: texts(fields.env, 'env').map((entry) => {
      const equals = entry.indexOf('=');
      if (equals <= 0) {
        throw new CdiSpecError(`'${entry}' is not NAME=VALUE`);
      }
      return [entry.slice(0, equals), entry.slice(equals + 1)];
    }),
    deviceNodes: list(fields.deviceNodes, 'deviceNodes').map((node) => nodeOf(node, needs)),
    mounts: list(fields.mounts, 'mounts').map((mount) => mountOf(mount, needs)),
    hooks: list(fields.hooks, 'hooks').map(hookOf),
    additionalGids: additionalGids.filter((gid) => gid !== 0),
    ignored: ['netDevices', 'intelRdt'].filter((name) => fields[name] !== undefined),
  };
}

function nodeOf(value: unknown, needs: Needs): CdiEdits['deviceNodes'][number] {
  const fields = objectOf(value, 'a device node', NODE_FIELDS);
  const path = absolute(fields.path, 'path of a device node');
  if (fields.type !== undefined && fields.type !== '' && !NODE_TYPES.includes(fields.type as string)) {
    throw new CdiSpecError(`type of a device node is none of ${NODE_TYPES.join(', ')}`);
  }
  if (fields.permissions !== undefined && !/^(?:none|[rwm]*)$/.test(String(fields.permissions))) {
    throw new CdiSpecError("permissions of a device node are neither 'none' nor of r, w and m");
  }
  if (fields.hostPath === undefined || fields.hostPath === '') {
    return { path, hostPath: path };
  }
  need(needs, '0.5.0');
  return { path, hostPath: absolute(fields.hostPath, 'hostPath of a device node') };
}

function mountOf(value: unknown, needs: Needs): CdiMount {
  const fields = objectOf(value, 'a mount', MOUNT_FIELDS);
  const type = fields.type === undefined ? '' : text(fields.type, 'type of a mount');
  if (type !== '') {
    need(needs, '0.4.0');
  }
  return {
    hostPath: text(fields.hostPath, 'hostPath of a mount'),
    containerPath: absolute(fields.containerPath, 'containerPath of a mount'),
    type,
    options: texts(fields.options, 'options of a mount'),
  };
}

function hookOf(value: unknown): CdiHook {
  const fields = objectOf(value, 'a hook', HOOK_FIELDS);
  const name = text(fields.hookName, 'hookName');
  if (!HOOK_NAMES.includes(name)) {
    throw new CdiSpecError(`hookName '${name}' is none of ${HOOK_NAMES.join(', ')}`);
  }
  return {
    name,
    path: text(fields.path, 'path of a hook'),
    args: texts(fields.args, 'args of a hook'),
  };
}

function annotationsOf(value: unknown, needs: Needs): Readonly<Record<string, string>> {
  if (value === undefined || value === null) {
    return {};
  }
  const entries = Object.entries(objectOf(value, 'annotations'));
  if (entries.length > 0) {
    need(needs, '0.6.0');
  }
  return Object.fromEntries(entries.map(([name, each]) => [name, text(each, `annotation '${name}'`)]));
}

function need(needs: Needs, version: string): void {
  if (VERSIONS.indexOf(version) > VERSIONS.indexOf(needs.version)) {
    needs.version = version;
  }
}

function objectOf(value: unknown, what: string, known?: readonly string[]): Fields {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new CdiSpecError(`${what} is no object`);
  }
  const unknown = known === undefined ? undefined : Object.keys(value).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new CdiSpecError(`${what} has a field '${unknown}', which CDI does not`);
  }
  return value as Fields;
}

function list(value: unknown, what: string): readonly unknown[] {
  if (value === undefined || value === null) {
    return [];
  }
  if (!Array.isArray(value)) {
    throw new CdiSpecError(`${what} is no list`);
  }
  return value;
}

function texts(value: unknown, what: string): readonly string[] {
  return list(value, what).map((each) => text(each, what));
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '' || value.includes('\0')) {
    throw new CdiSpecError(`${what} is no text`);
  }
  return value;
}

function absolute(value: unknown, what: string): string {
  const path = text(value, what);
  if (!path.startsWith('/')) {
    throw new CdiSpecError(`${what} is '${path}', which is not absolute`);
  }
  return path;
}
