"""vLLM's options are read from sources put together as its own are; what cannot be followed stops it."""

from pathlib import Path

import pytest

from tests.docs import vllm_options

TYPES = """
Cache = Literal["auto", Smaller]
Smaller = Literal["fp8"]
class Base:
    host: str | None = None
class FrontendArgs(Base):
    log: bool = False
    limit: int = Field(default=None, init=False)
class CacheConfig:
    DEFAULT: ClassVar[int] = 16
    cache_dtype: Cache | str = "auto"
    caching: bool = True
    layout: bool | str | None = None
"""
ENGINE = """
def add(parser):
    cache_kwargs = get_kwargs(CacheConfig)
    group = parser.add_argument_group(title="C")
    group.add_argument("--kv-cache-dtype", "-kv", **cache_kwargs["cache_dtype"])
    group.add_argument("--enable-caching", **{**cache_kwargs["caching"], "default": None})
    layout_kwargs = cache_kwargs["layout"]
    group.add_argument("--layout", **layout_kwargs)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--backend", choices=["b", "a"], default=None)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path, text in (
        (vllm_options.ENGINE, ENGINE),
        ("vllm/config/all.py", TYPES),
        (vllm_options.FRONT[0], ""),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_options_are_read_from_the_sources(folder: Path) -> None:
    assert vllm_options.options(vllm_options.read(folder)) == {
        "--backend": {"takes": "value", "choices": ["a", "b"]},
        "--enable-caching": {"takes": "switch"},
        "--host": {"takes": "value"},
        "--kv-cache-dtype": {"takes": "value", "choices": ["auto", "fp8"], "also": ["-kv"]},
        "--layout": {"takes": "optional"},
        "--log": {"takes": "switch"},
        "--quiet": {"takes": "nothing"},
    }


@pytest.mark.parametrize("broken", ['cache_kwargs["gone"]', 'other_kwargs["cache_dtype"]', "elsewhere()"])
def test_what_cannot_be_followed_stops_the_recording(folder: Path, broken: str) -> None:
    (folder / vllm_options.ENGINE).write_text(ENGINE.replace('cache_kwargs["cache_dtype"]', broken))
    with pytest.raises(KeyError):
        vllm_options.options(vllm_options.read(folder))
