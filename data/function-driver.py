# Runs one Python function in a container and reports how it ended. Lies in /run/tsbuild/function together with payload.json;
# nothing of it is in the image. For Python 3.7 and later.
import base64
import datetime
import importlib
import inspect
import json
import math
import os
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TAG = "$tsbuild"

with open(os.path.join(HERE, "payload.json"), encoding="utf-8") as file:
    payload = json.load(file)

sys.dont_write_bytecode = True
# Programs that the function starts leave no bytecode in the layer either.
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.path[:] = ["/root"] + [path for path in sys.path if os.path.abspath(path or ".") != HERE]
sys.argv[:] = [payload["name"]]


def decode(value):
    if isinstance(value, list):
        return [decode(one) for one in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {name: decode(one) for name, one in value.items()}
    kind, inner = value[TAG], value["value"]
    if kind == "number":
        return -0.0 if inner == "-0" else float(inner.replace("Infinity", "inf"))
    if kind == "bigint":
        return int(inner)
    if kind == "undefined":
        return None
    if kind == "Date":
        return datetime.datetime.fromtimestamp(decode(inner) / 1000, datetime.timezone.utc)
    if kind == "Map":
        return {decode(key): decode(one) for key, one in inner}
    if kind == "Set":
        return {decode(one) for one in inner}
    if kind == "bytes":
        return base64.b64decode(inner)
    if kind == "object":
        return {name: decode(one) for name, one in inner}
    raise TypeError("a value of the unknown kind '%s'" % kind)


def tagged(kind, value):
    return {TAG: kind, "value": value}


def encode(value, above=()):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= 9007199254740991 else tagged("bigint", str(value))
    if isinstance(value, float):
        if math.isnan(value):
            return tagged("number", "NaN")
        if math.isinf(value):
            return tagged("number", "Infinity" if value > 0 else "-Infinity")
        return value
    if id(value) in above:
        raise TypeError("a value that contains itself cannot be carried out of a container")
    above = above + (id(value),)
    if isinstance(value, (list, tuple)):
        return [encode(one, above) for one in value]
    if isinstance(value, (set, frozenset)):
        return tagged("Set", [encode(one, above) for one in value])
    if isinstance(value, (bytes, bytearray, memoryview)):
        return tagged("bytes", base64.b64encode(bytes(value)).decode("ascii"))
    if isinstance(value, datetime.datetime):
        return tagged("Date", round(value.timestamp() * 1000))
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            members = [[key, encode(one, above)] for key, one in value.items()]
            return tagged("object", members) if TAG in value else dict(members)
        return tagged("Map", [[encode(key, above), encode(one, above)] for key, one in value.items()])
    raise TypeError("a value of type '%s' cannot be carried out of a container" % type(value).__name__)


def report(what):
    with open(os.path.join(HERE, "report"), "w", encoding="utf-8") as file:
        json.dump(what, file)


def failed(error, stage):
    # The innermost frames are the function's; the first ones are this driver's and the importer's.
    frames = traceback.TracebackException.from_exception(error)
    chain = frames
    while chain is not None:
        kept = [frame for frame in chain.stack if not own(frame.filename)]
        chain.stack[:] = kept
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    stack = "".join(frames.format())
    for inside, outside in payload["paths"].items():
        stack = stack.replace('File "%s' % inside, 'File "%s' % outside)
    report({
        "ok": False,
        "error": {"type": type(error).__name__, "message": str(error), "stack": stack.rstrip(), "stage": stage},
    })
    sys.stdout.flush()
    sys.stderr.write(stack)
    sys.stderr.flush()
    os._exit(1)


def own(filename):
    return filename.startswith(HERE + "/") or filename.startswith("<frozen importlib") or (
        os.path.dirname(filename) == os.path.dirname(importlib.__file__)
    )


def call():
    module = importlib.import_module(payload["module"])
    function = getattr(module, payload["name"])
    args = [decode(one) for one in payload["args"]]
    kwargs = {name: decode(one) for name, one in payload["kwargs"].items()}
    result = function(*args, **kwargs)
    if inspect.isawaitable(result):
        import asyncio

        async def wait():
            return await result

        return asyncio.run(wait())
    return result


try:
    value = call()
except Exception as error:
    failed(error, "call")
if payload["wantsResult"]:
    try:
        encoded = encode(value)
    except Exception as error:
        failed(error, "result")
    report({"ok": True, "value": encoded})
