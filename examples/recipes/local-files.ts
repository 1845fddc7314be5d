/** Files of your machine: put into containers when they start, or copied into a layer. */
import { Image } from 'tsbuild';

const base = Image.debianSlim();

/** No layer: what is edited is seen at the next start, and nothing is built. */
export const added = base
  .addLocalDir('./app/config', '/app/config')
  .addLocalFile('./config.yaml', '/app/config.yaml')
  .addLocalPythonSource('my_module');

/** A layer, so that steps may follow. */
export const copied = base
  .addLocalDir('./app/config', '/app/config', { copy: true })
  .runCommands('ls /app/config > /app/list');

export const filtered = base.copyLocalDir('./src', '/app/src', {
  ignore: ['*.pyc', '__pycache__', '*.log', '.git', 'node_modules'],
});

export const chosen = base.copyLocalDir('./src', '/app/src', { condition: (path) => path.endsWith('.py') });

/** Under another name, and beside literal variables. */
export const configured = base
  .pipInstall('python-dotenv')
  .env({ ENVIRONMENT: 'production', LOG_LEVEL: 'INFO', API_TIMEOUT: '30' })
  .copyLocalFile('.env.production', '/app/.env')
  .workdir('/app');

/** Two images on one base, which is built once. */
const slow = base.aptInstall('file').uvPipInstall('numpy');
export const application = slow
  .copyLocalDir('./src', '/app/src')
  .copyLocalFile('config.yaml', '/app/config.yaml');
export const worker = slow.copyLocalDir('./data', '/app/data');
