/** Bases of registries, with and without Python; conda; CUDA; Dockerfiles. */
import { Image, Mount, Secret } from 'tsbuild';

export const torch = Image.fromRegistry('pytorch/pytorch:2.0.0-cuda11.7-cudnn8-runtime');

export const ubuntu = Image.ubuntu();

/** Python for an image that has none. */
export const withPython = Image.fromRegistry('ubuntu:22.04', { addPython: '3.12' });

const cudaVersion = '12.8.1';
const osVersion = 'ubuntu24.04';

/** The whole CUDA toolkit, without the entrypoint of its image. */
export const cuda = Image.fromRegistry(`nvidia/cuda:${cudaVersion}-devel-${osVersion}`, { addPython: '3.12' })
  .entrypoint([])
  .pipInstall('torch', 'flash-attn');

/** The Python of the distribution. */
export const distribution = Image.fromRegistry('nvidia/cuda:11.8.0-devel-ubuntu22.04')
  .aptInstall('python3', 'python3-pip', 'python3-dev')
  .runCommands('ln -s /usr/bin/python3 /usr/bin/python', 'pip install --upgrade pip')
  .pipInstall('torch', 'torchvision', 'transformers')
  .env({ CUDA_VISIBLE_DEVICES: '0' });

/** A package that wants to see a GPU while it is installed. */
export const withGpu = Image.debianSlim().pipInstall('bitsandbytes', { gpu: 'H100' });

export const privateEcr = Image.fromAwsEcr('123456789012.dkr.ecr.us-east-1.amazonaws.com/my-repo:latest', {
  secret: Secret.fromName('my-aws-secret'),
});

export const conda = Image.micromamba().micromambaInstall('pytorch', 'cudatoolkit=11.8', {
  channels: ['pytorch', 'conda-forge'],
});

export const condaPinned = Image.micromamba().micromambaInstall('pymc==5.10.4', 'numpyro==0.13.2', {
  channels: ['conda-forge'],
});

export const dockerfile = Image.fromDockerfile('docker/Dockerfile', { buildArgs: { GREETING: 'hello' } });

/** The context is what a Mount says: here everything lies below `context/`. */
export const dockerfileWithMount = Image.fromDockerfile('docker/Mounted.Dockerfile', {
  contextMount: Mount.fromLocalDir('src', { remotePath: '/context' }),
});
