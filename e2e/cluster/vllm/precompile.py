"""Compile the modules that serving a model imports, so that no start compiles them again.

In a container the packages are read-only, so that Python would compile some five thousand files at every
start and keep none. Only what is really imported is compiled (a quarter of all), by importing it; the files
carry no times, because the image's have none either. Runs under the Python that sees vLLM's packages:
`precompile.py SITE_PACKAGES`.
"""

import contextlib
import importlib
import py_compile
import sys
from pathlib import Path

MODULES = (
    "vllm.entrypoints.cli.main", "vllm.entrypoints.cli.serve", "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.core",
    "vllm.v1.engine.async_llm", "vllm.v1.executor.multiproc_executor", "vllm.v1.worker.cpu_worker",
    "vllm.v1.worker.cpu_model_runner", "vllm.v1.attention.backends.cpu_attn",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.models.registry", "vllm.model_executor.model_loader.default_loader",
    "vllm.v1.structured_output", "transformers.models.llama.modeling_llama",
    "transformers.models.auto.tokenization_auto",
    "torch._inductor.config", "torch._dynamo", "uvicorn.protocols.http.httptools_impl", "uvicorn.lifespan.on",
)  # fmt: skip

for name in MODULES:
    with contextlib.suppress(
        ImportError
    ):  # another version names it differently; then that part starts slower
        importlib.import_module(name)
site = Path(sys.argv[1])
files = {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
wanted = [file for file in files if file.suffix == ".py" and file.is_relative_to(site)]
for file in wanted:
    with contextlib.suppress(py_compile.PyCompileError):
        py_compile.compile(
            str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
print(f"compiled {len(wanted)} modules")
