/**
 * The bases that the Dockerfiles here are FROM, assembled from Debian's signed archive instead of a registry.
 *
 *   tsbuild build examples/dockerfiles/bases.ts::debian -t debian:trixie-slim -o type=oci,dest=bases/debian,tar=false
 *   tsbuild build examples/dockerfiles/bases.ts::python -t python:3.13-slim -o type=oci,dest=bases/python,tar=false
 */
import { Image } from 'tsbuild';

export const debian = Image.fromDebian({ suite: 'trixie', packages: ['ca-certificates'] });
export const python = Image.debianSlim({ source: 'archive', builderVersion: '2026.10' });
