"""A price is found under the nearest name that has one, and a bad one is named with its rule."""

import pytest
from torpor.decide.prices import Prices

GPU = "nvidia.com/gpu"
TEXT = (
    '{"h100": "2.50", "NVIDIA H100 NVL": 3, "amd.com/gpu": 1.75, "nvidia.com/mig-1g.10gb": "0.4", "*": 0.9}'
)


@pytest.mark.parametrize(
    ("product", "resource", "price"),
    [
        ("NVIDIA-H100-80GB-HBM3", GPU, "2.50"),
        ("NVIDIA-H100-NVL", GPU, "3"),  # its own name comes before that of the card
        ("NVIDIA-L4", GPU, "0.9"),
        (None, GPU, "0.9"),
        (None, "amd.com/gpu", "1.75"),
        (None, "nvidia.com/mig-1g.10gb", "0.4"),
        ("NVIDIA-H100-80GB-HBM3", "", None),  # it books none
    ],
)
def test_the_nearest_name_gives_the_price(product, resource, price):
    assert Prices.parse(TEXT).of(product, resource) == price


def test_without_one_for_the_others_there_may_be_none():
    prices = Prices.parse('{"a100-40gb": "1.10"}')
    assert prices.of("NVIDIA-A100-SXM4-80GB", GPU) is None
    assert prices.of("NVIDIA-A100-SXM4-40GB", GPU) == "1.10"
    assert Prices.parse(" ").of("NVIDIA-L4", GPU) is None


@pytest.mark.parametrize(
    ("number", "text"), [("25e-1", "2.5"), ("1e3", "1000"), ("0.30000000000000004", "0.3"), ("0", "0")]
)
def test_however_json_writes_a_number(number, text):
    assert Prices.parse(f'{{"*": {number}}}').of(None, GPU) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("h100=2.50", "must be a JSON object"),
        ("[1]", "must be a JSON object"),
        ('{"h100": "2,50"}', 'the price of "h100" is "2,50"'),
        ('{"h100": -1}', 'the price of "h100" is "-1"'),
        ('{"h100": 1e99}', "from 0 to 1000000"),
        ('{"h100": NaN}', 'the price of "h100"'),
        ('{"h100": null}', 'the price of "h100" is null'),
        ('{"h100": true}', 'the price of "h100" is true'),
        ('{"h100": 1, "H-100": 2}', '"H-100" has two prices'),
        ('{"h100": 1, "h100": 2}', "has two prices"),
        ('{"": 1}', "must be that of an accelerator"),
        ('{"**": 1}', "must be that of an accelerator"),
    ],
)
def test_a_bad_price_is_named_with_its_rule(text, told):
    with pytest.raises(ValueError, match=r"; (correct it|remove one)$") as caught:
        Prices.parse(text)
    assert told in str(caught.value)
