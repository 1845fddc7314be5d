/** Whole environments: machine learning, data processing, web scraping, data science. */
import { Image } from 'tsbuild';
import { giant } from './stand-ins.ts';

const python = Image.debianSlim({ pythonVersion: '3.11' });

export const machineLearning = python
  .aptInstall('git', 'wget', 'libsm6', 'libxext6')
  .uvPipInstall(
    ...giant(
      [
        'torch==2.1.0',
        'torchvision==0.16.0',
        'transformers==4.35.0',
        'accelerate==0.24.0',
        'bitsandbytes==0.41.0',
        'datasets==2.14.0',
        'evaluate==0.4.1',
        'tensorboard==2.15.0',
      ],
      ['numpy==1.26.4'],
    ),
  )
  .env({ HF_HOME: '/cache/huggingface', TORCH_HOME: '/cache/torch' });

export const dataProcessing = python
  .aptInstall('postgresql-client', 'libpq-dev')
  .uvPipInstall(
    ...giant(
      [
        'pandas==2.1.0',
        'numpy==1.24.0',
        'sqlalchemy==2.0.0',
        'psycopg2-binary==2.9.9',
        'pyarrow==13.0.0',
        'duckdb==0.9.0',
      ],
      ['sqlalchemy==2.0.0', 'psycopg2-binary==2.9.9'],
    ),
  );

export const webScraping = python
  .aptInstall(...giant(['chromium', 'chromium-driver'], ['w3m']))
  .uvPipInstall('selenium==4.15.0', 'beautifulsoup4==4.12.0', 'requests==2.31.0', 'lxml==4.9.3');

export const dataScience = python
  .aptInstall('git', 'curl', ...giant(['build-essential'], []))
  .pipInstall(
    ...giant(
      ['numpy', 'pandas', 'scikit-learn', 'matplotlib', 'seaborn', 'jupyter', 'plotly', 'scipy'],
      ['numpy', 'packaging'],
    ),
  )
  .runCommands(`pip install --no-deps ${giant('lightgbm', 'six')}`, 'mkdir -p /opt/data')
  .env({ DATA_PATH: '/opt/data', PYTHONPATH: '/opt/models' });

/** An application whose source is put into containers when they start. */
export const service = python
  .pipInstall(
    ...giant(
      [
        'crewai>=0.80.0',
        'crewai-tools>=0.14.0',
        'fastapi>=0.115.0',
        'pydantic>=2.0.0',
        'pydantic-settings>=2.0.0',
        'supabase>=2.0.0',
        'openai>=1.0.0',
        'tavily-python>=0.3.0',
        'httpx>=0.27.0',
      ],
      ['pydantic>=2.0.0', 'pydantic-settings>=2.0.0', 'httpx>=0.27.0'],
    ),
  )
  .addLocalDir('src', '/root/src');
