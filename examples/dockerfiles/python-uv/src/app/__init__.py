import getpass
import sys

import humanize


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "world"
    print(f"{getpass.getuser()} greets {name} for the {humanize.ordinal(3)} time")
