/** Python packages with uv and pip, and what Debian has to bring for them. */
import { Image } from 'tsbuild';
import { giant } from './stand-ins.ts';

const base = Image.debianSlim();

export const one = base.uvPipInstall('requests');

export const dataScience = base.uvPipInstall(...giant(['pandas==2.2.0', 'numpy'], ['numpy']));

/** Pinned: the same image next year. */
export const pinned = base.uvPipInstall(
  ...giant(
    ['torch==2.1.0', 'transformers==4.35.0', 'accelerate==0.24.0'],
    ['six==1.16.0', 'idna==3.10', 'packaging==25.0'],
  ),
);

export const fromRequirements = base.uvPipInstallFromRequirements('requirements.txt');

/** What pip is asked inline stays in order; `-r` names a file of the image. */
export const inlineOptions = base
  .copyLocalFile('requirements.txt')
  .pipInstall('-r', 'requirements.txt', { forceBuild: false });

export const forOpenCv = base
  .aptInstall('libsm6', 'libxext6', 'libxrender-dev')
  .uvPipInstall(giant('opencv-python', 'numpy'));

export const forAudio = base
  .aptInstall(...giant(['ffmpeg', 'libsndfile1'], ['libsndfile1']))
  .uvPipInstall(...giant(['librosa', 'soundfile'], ['soundfile']));

/** Local code, tests of it, and the packages that both need. */
export const development = base
  .pipInstall(...giant(['fastapi', 'uvicorn', 'sqlalchemy', 'pytest'], ['pytest']))
  .copyLocalDir('./src', '/app/src')
  .copyLocalFile('requirements.txt', '/app/requirements.txt')
  .runCommands('pip install -r /app/requirements.txt')
  .workdir('/app');

/** A project that Poetry manages. */
export const poetry = base
  .poetryInstallFromFile('pyproject.toml', 'poetry.lock')
  .copyLocalDir('./my_package', '/app/my_package')
  .workdir('/app');

/** The same project's dependencies without Poetry. */
export const pyproject = base.pipInstallFromPyproject('pyproject.toml', ['dev']);

/** Compiled in the image, the compiler gone afterwards. */
export const compiled = base
  .aptInstall('gcc', 'libc6-dev', 'python3-dev')
  .pipInstall('setuptools', 'cython')
  .copyLocalFile('setup.py', '/app/setup.py')
  .copyLocalDir('./fast', '/app/fast')
  .runCommands('cd /app && python setup.py build_ext --inplace')
  .aptRemove('gcc', 'libc6-dev', 'python3-dev', { purge: true })
  .workdir('/app');

/** Packages of this machine: wheels, projects, or a plain directory of modules. */
export const own = base.addPythonPackages('./my_package');
