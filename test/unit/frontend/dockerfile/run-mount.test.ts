// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the builder expands them, not JavaScript.
import { describe, expect, test } from 'vitest';
import { parseRunDevice, parseRunMount } from '../../../../src/frontend/dockerfile/run-mount.ts';
import { expandWord } from '../../../../src/frontend/dockerfile/shell-words.ts';

const values = new Map([
  ['type', 'cache'],
  ['dir', '/a,b'],
  ['n', '7'],
]);
const parse = (value: string) => parseRunMount(value, (text) => expandWord(text, values).text);

const bind = { type: 'bind', from: undefined, source: '', target: '/x', readOnly: true, ignoredKeys: [] };
const cache = {
  type: 'cache',
  id: '/x',
  from: undefined,
  source: '',
  target: '/x',
  readOnly: false,
  sharing: 'shared',
  mode: undefined,
  uid: undefined,
  gid: undefined,
  ignoredKeys: [],
};
const tmpfs = { type: 'tmpfs', target: '/x', sizeBytes: undefined, readOnly: false, ignoredKeys: [] };
const secret = {
  type: 'secret',
  id: 'token',
  target: '/run/secrets/token',
  env: undefined,
  required: false,
  mode: 0o400,
  uid: 0,
  gid: 0,
  ignoredKeys: [],
};
const ssh = {
  type: 'ssh',
  id: 'default',
  target: undefined,
  required: false,
  mode: 0o600,
  uid: 0,
  gid: 0,
  ignoredKeys: [],
};

describe('a mount', () => {
  test.each<[string, object]>([
    ['target=/x', bind],
    ['type=bind,dst=/x', bind],
    ['TYPE=BIND,Destination=/x', bind],
    ['target=/x,src=a/b,from=stage', { ...bind, source: 'a/b', from: 'stage' }],
    ['target=/x,source=a,rw', { ...bind, source: 'a', readOnly: false }],
    ['target=/x,readwrite=true', { ...bind, readOnly: false }],
    ['target=/x,rw=0', bind],
    ['target=/x,ro=false', { ...bind, readOnly: false }],
    ['target=/x,ro,rw', { ...bind, readOnly: false }],
    ['target=/x,from=a$', { ...bind, from: 'a$' }],
    ['target=x', { ...bind, target: 'x' }],
    ['source=a', { ...bind, source: 'a', target: '' }],
    ['target=/x,id=y,env=E', { ...bind, ignoredKeys: ['id', 'env'] }],
    ['type=cache,target=/x', cache],
    ['target=/x,type=cache', cache],
    ['type=$type,target=/x', cache],
    ['type=cache,target=/x/../y//z/', { ...cache, id: '/y/z', target: '/x/../y//z/' }],
    ['type=cache,target=x', { ...cache, id: 'x', target: 'x' }],
    [
      'type=cache,id=pip,target=/x,sharing=LOCKED,mode=0700,uid=$n,gid=8,ro,from=s,source=/seed',
      {
        ...cache,
        id: 'pip',
        sharing: 'locked',
        mode: 0o700,
        uid: 7,
        gid: 8,
        readOnly: true,
        from: 's',
        source: '/seed',
      },
    ],
    ['type=cache,"target=/a,b"', { ...cache, id: '/a,b', target: '/a,b' }],
    // A comma in a value does not split the record.
    ['type=cache,target=$dir', { ...cache, id: '/a,b', target: '/a,b' }],
    ['type=cache,"target=/a\\""b"', { ...cache, id: '/a"b', target: '/a"b' }],
    ['type=cache,target=/x,id=', cache],
    ['type=tmpfs,target=/x', tmpfs],
    ['type=tmpfs,target=/x,size=64m', { ...tmpfs, sizeBytes: 64 * 1024 * 1024 }],
    ['size=1.5GiB,target=/x,type=tmpfs', { ...tmpfs, sizeBytes: 1.5 * 1024 ** 3 }],
    ['type=tmpfs,target=/x,size=100', { ...tmpfs, sizeBytes: 100 }],
    ['type=tmpfs,target=/x,size=2 kb', { ...tmpfs, sizeBytes: 2048 }],
    ['type=secret,id=token', secret],
    ['type=secret,source=token', secret],
    ['type=secret,id=a/token', { ...secret, id: 'a/token' }],
    ['type=secret,target=/etc/token', { ...secret, target: '/etc/token' }],
    ['type=secret,id=token,env=TOKEN', { ...secret, target: undefined, env: 'TOKEN' }],
    ['type=secret,id=token,env=TOKEN,target=/t', { ...secret, target: '/t', env: 'TOKEN' }],
    // The type may stand behind the keys that only it has.
    ['required,id=token,type=secret', { ...secret, required: true }],
    [
      'type=secret,id=token,required=1,mode=444,uid=1,gid=2',
      { ...secret, required: true, mode: 0o444, uid: 1, gid: 2 },
    ],
    ['type=secret,id=token,required=false,ro', { ...secret, ignoredKeys: ['readonly'] }],
    ['type=ssh', ssh],
    [
      'type=ssh,id=x,target=/s,required,mode=0666',
      { ...ssh, id: 'x', target: '/s', required: true, mode: 0o666 },
    ],
  ])('%s', (value, expected) => {
    expect(parse(value)).toEqual(expected);
  });

  test.each([
    [
      'type=cach,target=/x',
      "'type' of --mount must be bind, cache, tmpfs, secret, ssh, not 'cach'",
      'did you mean cache?',
    ],
    ['type=cache,targt=/x', "--mount has no 'targt'", 'did you mean target?'],
    ['type=cache,target', "'target' of --mount needs a value", 'write target=VALUE'],
    [
      'type=cache,target=/x,sharing=lock',
      "'sharing' of --mount must be shared, private, locked, not 'lock'",
      'did you mean locked?',
    ],
    [
      'type=bind,target=/x,sharing=shared',
      "a mount of type bind has no 'sharing'",
      'its keys are from, source, target, readonly',
    ],
    [
      'target=/x,mode=0700',
      "a mount of type bind has no 'mode'",
      'its keys are from, source, target, readonly',
    ],
    [
      'type=tmpfs,target=/x,uid=1',
      "a mount of type tmpfs has no 'uid'",
      'its keys are target, size, readonly',
    ],
    ['type=cache,target=/x,required', "a mount of type cache has no 'required'", undefined],
    ['type=cache,target=/x,size=1m', "a mount of type cache has no 'size'", undefined],
    ['type=secret,id=x,from=y', "a mount of type secret has no 'from'", undefined],
    [
      'type=secret,id=x,source=y',
      "a secret mount has both 'id' and 'source', which mean the same",
      'remove one of them',
    ],
    ['type=secret', 'a secret mount does not say which secret', 'write id=NAME'],
    ['type=secret,id=x,env=', "'env' of --mount must be the name of a variable, not ''", undefined],
    ['type=secret,id=x,env=A=B', "'env' of --mount must be the name of a variable, not 'A=B'", undefined],
    [
      'type=secret,id=x,mode=0988',
      "'mode' of --mount must be octal digits, such as 0400, not '0988'",
      undefined,
    ],
    [
      'type=secret,id=x,mode=77777777777',
      "'mode' of --mount must be octal digits, such as 0400, not '77777777777'",
      undefined,
    ],
    ['type=secret,id=x,uid=-1', "'uid' of --mount must be a number, not '-1'", undefined],
    ['type=secret,id=x,gid=4294967296', "'gid' of --mount must be a number, not '4294967296'", undefined],
    ['type=secret,id=x,required=yes', "'required' must be true or false, not 'yes'", undefined],
    ['target=/x,ro=', "'readonly' must be true or false, not ''", undefined],
    ['target=/x,rw=2', "'readwrite' must be true or false, not '2'", undefined],
    ['target=/', "a mount cannot cover '/'", 'name a directory as its target'],
    ['target=/a/..', "a mount cannot cover '/'", 'name a directory as its target'],
    ['type=tmpfs,target=/x,size=much', "'size' of --mount must be a size, not 'much'", undefined],
    ['type=tmpfs,target=/x,size=9999999p', "'size' of --mount must be a size, not '9999999p'", undefined],
    ['target=/x,from=a${b}', "'from' of --mount cannot hold a variable, as in 'a${b}'", undefined],
    ['target=/x,from=$b', "'from' of --mount cannot hold a variable, as in '$b'", undefined],
    ['target=/x,from', "'from' of --mount needs a value", 'write from=VALUE'],
    ['', "--mount has a field without a name: ''", undefined],
    ['target=/x,', "--mount has a field without a name: ''", undefined],
    ['target=/x,=y', "--mount has a field without a name: '=y'", undefined],
    ['target=a"b', "--mount: a quote within 'target=a\"b': put quotes around the whole field", undefined],
    ['"target=/x', "--mount: a quote is not closed in '\"target=/x'", undefined],
    ['"target=/x"y', "--mount: 'y' follows a closing quote", undefined],
  ])('%s', (value, message, hint) => {
    expect(() => parse(value)).toThrow(
      expect.objectContaining({
        name: 'DefinitionError',
        code: 'E_DOCKERFILE_FLAG',
        message,
        ...(hint === undefined ? {} : { hint }),
      }),
    );
  });

  test('a variable is expanded only where it may be', () => {
    const seen: string[] = [];
    parseRunMount('type=bind,from=base,source=a,target=b,rw', (text) => {
      seen.push(text);
      return text;
    });
    expect(seen).toEqual(['bind', 'a', 'b']);
  });
});

describe('a device', () => {
  test.each<[string, object]>([
    ['vendor.com/gpu=0', { name: 'vendor.com/gpu=0', required: false }],
    ['vendor.com/gpu', { name: 'vendor.com/gpu', required: false }],
    ['name=vendor.com/gpu=all,required', { name: 'vendor.com/gpu=all', required: true }],
    ['required=false,vendor.com/gpu=*', { name: 'vendor.com/gpu=*', required: false }],
  ])('%s', (value, expected) => {
    expect(parseRunDevice(value)).toEqual(expected);
  });

  test.each([
    ['', '--device needs the name of a device'],
    ['required', '--device needs the name of a device'],
    ['a=b,c=d', "--device has a name already, 'a=b', and then comes 'c=d'"],
    ['a=b,required=maybe', "'required' must be true or false, not 'maybe'"],
  ])('%s', (value, message) => {
    expect(() => parseRunDevice(value)).toThrow(
      expect.objectContaining({ code: 'E_DOCKERFILE_FLAG', message }),
    );
  });
});
