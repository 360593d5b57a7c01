"""What a look into a body finds, and what it refuses."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway.answers import Refusal
from torpor_gateway.peek import peek
from torpor_gateway.surface import Body

KIND = b'multipart/form-data; boundary="a b"'


def look(body: bytes) -> tuple[str | None, bool]:
    return peek(body, Body.JSON, b"application/json", b"")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"model":"a","stream":true}', ("a", True)),
        (b'{"stream":false,"model":"a"}', ("a", False)),
        (b'{"stream":"true","model":"a"}', ("a", False)),
        (b'{"stream":1,"model":"a"}', ("a", False)),
        (b'{"model":null}', (None, False)),
        (b"{}", (None, False)),
        (b'{"model":"a","model":"b"}', ("b", False)),
        (b'{"messages":[{"model":"inner","stream":true}],"model":"outer"}', ("outer", False)),
        (b'{"mod\\u0065l":"escaped"}', ("escaped", False)),
    ],
)
def test_json(body, found):
    assert look(body) == found


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"1", b'{"model":1}', b'{"a":NaN}', b"[" * 200_000, b"\xff\xfe{\x00}\x00"]
)
def test_what_is_no_object_is_400(body):
    with pytest.raises(Refusal) as refused:
        look(body)
    assert refused.value.status == 400


@pytest.mark.parametrize("bomb", [b"[],", b"{},", b"12,", b'"ab",'])
def test_a_body_of_a_million_values_is_not_unfolded(bomb):
    with pytest.raises(Refusal) as refused:
        look(b'{"model":"a","x":[' + bomb * 1_000_001 + b"0]}")
    assert (refused.value.status, refused.value.code) == (413, "too_many_values")
    assert look(b'{"model":"a","x":"' + b"a long text " * 300_000 + b'"}') == ("a", False)


def test_compressed_bodies_are_415():
    with pytest.raises(Refusal) as refused:
        peek(b"", Body.JSON, b"application/json", b"gzip")
    assert refused.value.status == 415


@given(
    st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.booleans(), st.lists(st.text()))),
    st.text(),
    st.booleans(),
)
def test_any_object_is_read_like_the_standard_library_reads_it(value, model, stream):
    body = json.dumps(value | {"model": model, "stream": stream}).encode()
    assert look(body) == (model, stream)


def form(*parts: tuple[bytes, bytes]) -> bytes:
    return (
        b"".join(b"--a b\r\n" + head + b"\r\n\r\n" + value + b"\r\n" for head, value in parts)
        + b"--a b--\r\n"
    )


def test_a_form_names_its_model_beside_a_file_that_lies():
    body = form(
        (
            b'Content-Disposition: form-data; name="file"; filename="model"',
            b'\r\n\r\nname="model"\r\n\r\nwrong',
        ),
        (b'content-disposition: form-data; name="model"', b"whisper"),
        (b"Content-Disposition: form-data; name=stream", b"true"),
    )
    assert peek(body, Body.MULTIPART, KIND, b"") == ("whisper", True)


def test_a_files_name_is_not_a_fields():
    body = form(
        (b'Content-Disposition: form-data; name="model"', b"whisper"),
        (b'Content-Disposition: form-data; name="file"; filename="a; name=model"', b"other"),
        (b'Content-Disposition: form-data; name="models"', b"another"),
    )
    assert peek(body, Body.MULTIPART, KIND, b"") == ("whisper", False)
    named = b"multipart/form-data; xboundary=no; boundary=yes"
    body = b'--yes\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--yes--\r\n'
    assert peek(body, Body.MULTIPART, named, b"") == ("m", False)


@given(st.binary(max_size=300))
def test_any_bytes_in_a_form_are_survived(data):
    peek(b"--a b\r\n" + data, Body.MULTIPART, KIND, b"")


def test_a_form_without_a_boundary_is_400():
    with pytest.raises(Refusal):
        peek(b"", Body.MULTIPART, b"multipart/form-data", b"")
