/** Functions as build steps, and functions that run in an image. */
import { App, Image, pythonFunction, Secret, Volume } from 'tsbuild';
import { giant } from './stand-ins.ts';

/** Weights are downloaded once, into a volume that outlives the build, by a Python function with a token. */
export const models = Image.debianSlim()
  .pipInstall(...giant(['diffusers[torch]', 'transformers', 'ftfy', 'accelerate'], ['packaging']))
  .runFunction(pythonFunction('download.py', 'download_models'), {
    secrets: [Secret.fromEnv(['HF_TOKEN'])],
    volumes: { '/root/.cache/huggingface': Volume.fromName('hf-cache', { createIfMissing: true }) },
  });

const image = Image.debianSlim().uvPipInstall(
  ...giant(['requests', 'beautifulsoup4', 'pandas'], ['packaging']),
);

/** `tsbuild run functions.ts::analyze -- '["1.10", "1.9"]'` */
export const app = new App({ name: 'web-scraper', image });
export const analyze = app.function({}, pythonFunction('analysis.py', 'analyze'));

/** What is in the image: `tsbuild run functions.ts::debug`. */
export const debug = app.function({}, pythonFunction('analysis.py', 'debug_image'));
