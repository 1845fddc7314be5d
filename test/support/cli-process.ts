/** A process that is the command line with an engine that plays; what it plays comes from the environment. */
import { runProcess } from '../../src/cli/main.ts';
import { smallBuild, smallBuildEnd } from './events.ts';
import { type FakeEngineScript, fakeEngine } from './fake-engine.ts';

const { events, ...script } = JSON.parse(process.env.FAKE_ENGINE ?? '{}') as FakeEngineScript & {
  readonly events?: never;
};
const played = process.env.FAKE_EVENTS === undefined ? (events ?? []) : [...smallBuild, ...smallBuildEnd];
await runProcess(() => Promise.resolve(fakeEngine({ ...script, events: played }).module));
