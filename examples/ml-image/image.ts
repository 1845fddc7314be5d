/**
 * A machine-learning image: numpy, pandas and scikit-learn on Debian's Python, without a registry for the base. The source of
 * the application is the last layer, so that an edit rebuilds, and pushes, only that.
 *
 *   tsbuild build examples/ml-image/image.ts -t ml-image
 *   tsbuild run ml-image
 *   tsbuild push ml-image registry.example/ml-image
 */
import { Image } from 'tsbuild';

export default Image.debianSlim({ source: 'archive' })
  .aptInstall('ca-certificates')
  .uvPipInstall('numpy==2.3.4', 'pandas==2.3.3', 'scikit-learn==1.7.2')
  .workdir('/app')
  .copyLocalDir(new URL('./app', import.meta.url), '/app')
  .cmd(['python', '/app/train.py']);
