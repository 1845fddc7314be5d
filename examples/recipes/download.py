"""Runs while the image is built; what it writes is the layer."""

import os
import pathlib

MODEL = "segmind/small-sd"


def download_models():
    cache = pathlib.Path("/root/.cache/huggingface")
    weights = cache / MODEL.replace("/", "--")
    if not weights.exists():
        # A real one would call from_pretrained(MODEL, token=os.environ["HF_TOKEN"]).
        assert os.environ["HF_TOKEN"]
        weights.write_text("weights\n")
    pathlib.Path("/models.txt").write_text(f"{MODEL}: {weights.stat().st_size} bytes\n")
