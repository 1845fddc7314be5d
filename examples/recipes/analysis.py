"""Functions that run in an image; what they import need not exist on the machine that builds."""


def analyze(versions):
    from packaging.version import Version

    return {"newest": str(max(map(Version, versions))), "count": len(versions)}


def debug_image():
    import subprocess
    import sys

    print(f"Python: {sys.version}")
    print(subprocess.run([sys.executable, "-m", "pip", "list"], capture_output=True, text=True).stdout)
    print(subprocess.run(["dpkg", "-l"], capture_output=True, text=True).stdout[:1000])
    return "Debug complete"
