"""Prints a greeting and proves that the compiled part of numpy works."""

import os
import platform
import sys

import numpy


def main() -> None:
    identity = numpy.linalg.inv(numpy.eye(3)).round().astype(int)
    print(os.environ["GREETING"])
    print(f"python {platform.python_version()}, numpy {numpy.__version__}, {sys.platform}")
    print(identity)


if __name__ == "__main__":
    main()
