"""The engine's environment in a pod that is not a laptop."""

from torpor_engine.environ import engine_environ, service_links
from torpor_engine.outcomes import one_line, shell_status

LINKS = {
    "VLLM_SERVICE_HOST": "10.0.0.1",
    "VLLM_SERVICE_PORT": "80",
    "VLLM_SERVICE_PORT_HTTP": "80",
    "VLLM_PORT": "tcp://10.0.0.1:80",
    "VLLM_PORT_80_TCP": "tcp://10.0.0.1:80",
    "VLLM_PORT_80_TCP_ADDR": "10.0.0.1",
}


def test_service_links_are_removed_and_nothing_else() -> None:
    own = {"VLLM_LOGGING_LEVEL": "DEBUG", "MASTER_PORT": "29500", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert service_links({**LINKS, **own}) == set(LINKS)


def test_a_numeric_port_of_vllm_is_the_users() -> None:
    assert service_links({"VLLM_PORT": "9000"}) == set()
    assert service_links({"VLLM_PORT": "tcp://10.0.0.1:80"}) == {"VLLM_PORT"}


def test_caches_go_to_the_volume_unless_set() -> None:
    environ = engine_environ({"HF_HOME": "/own", "HOME": "/"}, "/cache", lambda _: False, named_user=False)
    assert environ["HF_HOME"] == "/own"
    assert environ["VLLM_CACHE_ROOT"] == "/cache/vllm"
    assert environ["TRITON_CACHE_DIR"] == "/cache/triton"
    assert environ["HOME"] == "/cache/home"
    assert (environ["USER"], environ["LOGNAME"]) == ("torpor", "torpor")
    assert environ["VLLM_NO_USAGE_STATS"] == "1"


def test_a_named_user_with_a_home_keeps_both() -> None:
    environ = engine_environ({"HOME": "/home/x", "USER": "x"}, "/cache", lambda _: True, named_user=True)
    assert (environ["HOME"], environ["USER"]) == ("/home/x", "x")
    assert "LOGNAME" not in environ


def test_messages_fit_one_line_and_the_kubelet() -> None:
    assert one_line("a\nb\x00\tc") == "a b c"
    long = one_line("é" * 4000)
    assert len(long.encode()) <= 1024
    assert long.endswith("...")
    assert one_line("key sesame-open and Bearer abc.def", ["sesame-open"]) == "key *** and Bearer ***"


def test_shell_status() -> None:
    assert (shell_status(0), shell_status(3), shell_status(-9)) == (0, 3, 137)
