/** Runs the service: `node examples/build-service/main.ts`. See README.md for the variables. */
import { Engine } from 'tsbuild';
import { startService } from './service.ts';

const { PORT = '8080', HOST = '127.0.0.1', MAX_BODY_BYTES = '16777216', MAX_BUILDS = '2' } = process.env;

const engine = await Engine.open();
const service = await startService({
  engine,
  host: HOST,
  port: Number(PORT),
  maxBodyBytes: Number(MAX_BODY_BYTES),
  maxBuilds: Number(MAX_BUILDS),
});
console.log(`listening on ${service.url}`);

// tsbuild installs no signal handlers; what a signal means is the program's to say.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, async () => {
    await service.close();
    await engine.close();
  });
}
