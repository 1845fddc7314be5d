/**
 * A Python program with a compiled dependency, on a base that is assembled from Debian's signed archive: no registry,
 * no daemon, no root.
 *
 *   tsbuild build examples/hello-python/image.ts -t hello-python
 *   tsbuild run hello-python
 */
import { Image } from 'tsbuild';

export default Image.debianSlim({ source: 'archive' })
  .aptInstall('ca-certificates')
  .uvPipInstall('numpy')
  .env({ GREETING: 'hello from tsbuild' })
  .workdir('/app')
  .copyLocalDir(new URL('./app', import.meta.url), '/app')
  .entrypoint(['python', '/app/main.py']);
